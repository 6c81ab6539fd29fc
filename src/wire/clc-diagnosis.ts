/**
 * Diagnosis codes: why a Decline was sent, and why a connection goes on as TCP. One table.
 *
 * Owns names and meanings. Source: smc-protocol §2.9 (names as in SMC_CLC_DECL_*).
 */

interface DiagnosisRow {
  readonly code: number;
  /** Which side of a handshake finds the reason. */
  readonly side: "client" | "server" | "both";
  /** False for reasons that are counted locally and never sent in a Decline. */
  readonly sent?: false;
  readonly meaning: string;
}

export const DIAGNOSIS = {
  MEM: { code: 0x01010000, side: "both", meaning: "out of memory: buffers, table entries or a failed attach" },
  TIMEOUT_CL: { code: 0x02010000, side: "both", meaning: "the peer did not answer in time (SMC-R: no Confirm Link)" },
  TIMEOUT_AL: { code: 0x02020000, side: "both", meaning: "no Add Link over RDMA" },
  CNFERR: { code: 0x03000000, side: "client", meaning: "configuration error, such as a failed prefix lookup" },
  PEERNOSMC: { code: 0x03010000, side: "both", sent: false, meaning: "the peer does not speak SMC" },
  IPSEC: { code: 0x03020000, side: "both", meaning: "the TCP connection has an IPsec policy" },
  NOSMCDEV: { code: 0x03030000, side: "both", meaning: "no SMC device at all" },
  NOSMCDDEV: { code: 0x03030001, side: "server", meaning: "no SMC-D device" },
  NOSMCRDEV: { code: 0x03030002, side: "both", meaning: "no SMC-R device" },
  NOISM2SUPP: { code: 0x03030003, side: "server", meaning: "no ISMv2 support locally" },
  NOV2EXT: { code: 0x03030004, side: "server", meaning: "the v2 extension is missing" },
  NOV2DEXT: { code: 0x03030005, side: "server", meaning: "the SMC-Dv2 extension is missing" },
  NOSEID: { code: 0x03030006, side: "server", meaning: "the peer sent no SEID" },
  NOSMCD2DEV: { code: 0x03030007, side: "server", meaning: "no matching SMC-Dv2 device" },
  NOUEID: { code: 0x03030008, side: "server", meaning: "the peer sent no UEID that is known here" },
  RELEASEERR: { code: 0x03030009, side: "both", meaning: "the negotiated release differs" },
  MAXCONNERR: { code: 0x0303000a, side: "both", meaning: "max connections negotiation failed" },
  MAXLINKERR: { code: 0x0303000b, side: "both", meaning: "max links negotiation failed" },
  MODEUNSUPP: { code: 0x03040000, side: "client", meaning: "the accepted path was not offered" },
  RMBE_EC: { code: 0x03050000, side: "both", meaning: "the peer insists on RMBE eyecatchers" },
  OPTUNSUPP: { code: 0x03060000, side: "both", sent: false, meaning: "a socket option is not supported" },
  DIFFPREFIX: { code: 0x03070000, side: "server", meaning: "IP subnet or prefix mismatch under v1 rules" },
  GETVLANERR: { code: 0x03080000, side: "server", meaning: "the VLAN id of the interface is unknown" },
  ISMVLANERR: { code: 0x03090000, side: "both", meaning: "VLAN registration on the ISM device failed" },
  NOACTLINK: { code: 0x030a0000, side: "both", meaning: "the link group has no active link" },
  NOSRVLINK: { code: 0x030b0000, side: "client", meaning: "the server's link is unknown to the client" },
  VERSMISMAT: { code: 0x030c0000, side: "both", meaning: "SMC version mismatch" },
  MAX_DMB: { code: 0x030d0000, side: "both", meaning: "the limit of SMC-D DMBs is reached" },
  NOROUTE: { code: 0x030e0000, side: "client", meaning: "SMC-Rv2: no route to the peer" },
  NOINDIRECT: { code: 0x030f0000, side: "client", meaning: "SMC-Rv2: direct and indirect mismatch" },
  SYNCERR: { code: 0x04000000, side: "client", meaning: "the peers disagree whether the link group exists" },
  PEERDECL: { code: 0x05000000, side: "both", sent: false, meaning: "the peer sent a Decline" },
  INTERR: { code: 0x09990000, side: "both", meaning: "internal error" },
  ERR_RTOK: { code: 0x09990001, side: "both", meaning: "rtoken table handling failed" },
  ERR_RDYLNK: { code: 0x09990002, side: "both", meaning: "the queue pair could not be made ready" },
  ERR_REGBUF: { code: 0x09990003, side: "both", meaning: "buffer registration failed" },
} as const satisfies Record<string, DiagnosisRow>;

export type DiagnosisName = keyof typeof DIAGNOSIS;

/** Codes of the first Linux generation (2016-2018) that did not get another meaning later. */
const FIRST_GENERATION: readonly (readonly [number, string])[] = [
  [0x02000000, "TIMEOUT"],
  [0x02040000, "TCL"],
  [0x06000000, "REPLY"],
  [0x07000000, "SEND"],
  [0x99990000, "INTERR"],
];

const NAMES: ReadonlyMap<number, string> = new Map([
  ...FIRST_GENERATION,
  ...Object.entries(DIAGNOSIS).map(([name, row]) => [row.code, name] as const),
]);

/** The name of a code; codes of other systems come out as their number, `0x` and eight digits. */
export function diagnosisName(code: number): string {
  return NAMES.get(code) ?? `0x${code.toString(16).padStart(8, "0")}`;
}
