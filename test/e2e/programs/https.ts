/** HTTPS where both ends show certificates. Only who shows the right one is answered. */
import { once } from "node:events";
import https, { type RequestOptions } from "node:https";
import type { TLSSocket } from "node:tls";
import { bodyOf, listening, type Seen, sha256 } from "./seen.js";

/** PEM. Each is signed by itself, and trusted by the other side. */
export interface Certificates {
  readonly server: { readonly key: string; readonly cert: string };
  readonly client: { readonly key: string; readonly cert: string };
}

export function serve({ server, client }: Certificates): Promise<number> {
  const options = { ...server, ca: client.cert, requestCert: true, rejectUnauthorized: true };
  return listening(
    https.createServer(options, (request, response) => {
      const { subject } = (request.socket as TLSSocket).getPeerCertificate();
      response.setHeader("x-subject", String(subject.CN));
      request.pipe(response);
    }),
  );
}

/** Beside what it saw, what carried the sockets: TLS publishes none of its own. */
export async function converse(
  port: number,
  { server, client }: Certificates,
): Promise<{ seen: Seen; carriers: string[] }> {
  const seen: Seen = {};
  const carriers = new Set<string>();
  const agent = new https.Agent({ keepAlive: true, maxSockets: 3, ...client, ca: server.cert });
  const target: RequestOptions = { agent, port, host: "127.0.0.1", method: "POST" };
  const all = Array.from({ length: 12 }, async (_, i) => {
    const request = https.request({ ...target, path: `/${i}` });
    request.end(bodyOf(i, i * 30_011));
    const [response] = await once(request, "response");
    carriers.add(response.socket.smc?.device ?? response.socket.smc?.mode ?? "none");
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    seen[i] = `${response.statusCode} ${response.headers["x-subject"]} ${sha256(Buffer.concat(chunks))}`;
  });
  await Promise.all(all);
  agent.destroy();
  const without = https.get({ port, host: "127.0.0.1", ca: server.cert, agent: false });
  const [error] = await once(without, "response").then(
    () => [new Error("answered")],
    (cause: Error) => [cause],
  );
  seen["without a certificate"] = (error as NodeJS.ErrnoException).code ?? String(error);
  return { seen, carriers: [...carriers] };
}
