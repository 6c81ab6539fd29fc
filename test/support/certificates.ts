/** Certificates for tests of TLS: a server's and a client's, each its own authority. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Names of files. */
export type Pems = Readonly<Record<"key" | "cert" | "clientKey" | "clientCert", string>>;

/** Made anew, gone with the process; undefined without openssl. */
export function certificates(): Pems | undefined {
  const folder = mkdtempSync(join(tmpdir(), "smcnet-certificates-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const make = (name: string): readonly [key: string, cert: string] | undefined => {
    const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
    const fresh = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const names = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    return spawnSync("openssl", [...fresh, ...names, "-keyout", key, "-out", cert]).status === 0
      ? [key, cert]
      : undefined;
  };
  const [server, client] = [make("server"), make("client")];
  if (server === undefined || client === undefined) return undefined;
  return { key: server[0], cert: server[1], clientKey: client[0], clientCert: client[1] };
}
