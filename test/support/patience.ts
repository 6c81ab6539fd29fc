/**
 * A busy machine must not make a test of SMC a test of TCP: the environment in which processes wait longer for each other than
 * they do by default.
 */
export const PATIENCE = {
  SMC_CONTACT: "1000",
  SMC_CLC_TIMEOUT: "5000",
  SMC_MATCH_TIMEOUT: "1000",
  SMC_CLAIM_WAIT: "1000",
} as const;
