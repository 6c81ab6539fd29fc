/** npm's undici, in a pool and pipelined, against core's http server. */
import http from "node:http";
import { Client, Pool } from "undici";
import { bodyOf, listening, type Seen, sha256 } from "./seen.js";

/** Answers with what came, twice. */
export function serve(): Promise<number> {
  return listening(
    http.createServer((request, response) => {
      response.setHeader("x-path", request.url!);
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        response.write(chunk);
      });
      request.on("end", () => response.end(Buffer.concat(chunks)));
    }),
  );
}

export async function converse(port: number): Promise<Seen> {
  const origin = `http://127.0.0.1:${port}`;
  const seen: Seen = {};
  const pool = new Pool(origin, { connections: 4 });
  const client = new Client(origin, { pipelining: 8 });
  const all = Array.from({ length: 48 }, async (_, i) => {
    const via = i % 2 === 0 ? pool : client;
    // Only what is idempotent is pipelined.
    const options = i % 4 < 2 ? { method: "POST" as const, body: bodyOf(i, i * 7_919) } : { method: "GET" as const };
    const { statusCode, headers, body } = await via.request({ path: `/${i}`, ...options });
    seen[i] = `${statusCode} ${headers["x-path"]} ${sha256(new Uint8Array(await body.arrayBuffer()))}`;
  });
  await Promise.all(all);
  await Promise.all([pool.close(), client.close()]);
  return seen;
}
