/** Global fetch against core's http server: compression, redirects, streamed uploads, an abort. */
import http from "node:http";
import { gzipSync } from "node:zlib";
import { bodyOf, listening, type Seen, sha256 } from "./seen.js";

export function serve(): Promise<number> {
  return listening(
    http.createServer((request, response) => {
      if (request.url === "/gzip") {
        response.writeHead(200, { "content-encoding": "gzip" });
        response.end(gzipSync(bodyOf(1, 500_000)));
      } else if (request.url === "/redirect") {
        response.writeHead(302, { location: "/gzip" });
        response.end();
      } else if (request.url === "/endless") {
        const more = (): void => {
          while (response.write(bodyOf(2, 65_536)));
        };
        response.on("drain", more);
        more();
      } else request.pipe(response);
    }),
  );
}

export async function converse(port: number): Promise<Seen> {
  const origin = `http://127.0.0.1:${port}`;
  const seen: Seen = {};
  const hash = async (response: Response): Promise<string> =>
    `${response.status} ${response.redirected} ${sha256(new Uint8Array(await response.arrayBuffer()))}`;
  seen["gzip"] = await hash(await fetch(`${origin}/gzip`));
  seen["redirect"] = await hash(await fetch(`${origin}/redirect`));
  const echoes = Array.from({ length: 12 }, async (_, i) => {
    seen[`echo ${i}`] = await hash(await fetch(`${origin}/echo`, { method: "POST", body: bodyOf(i, i * 50_021) }));
  });
  await Promise.all(echoes);
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent === 30) controller.close();
      else controller.enqueue(bodyOf(sent++, 20_000));
    },
  });
  const streamed = { method: "POST", body, duplex: "half" } as RequestInit;
  seen["upload"] = await hash(await fetch(`${origin}/echo`, streamed));
  const abort = new AbortController();
  const endless = await fetch(`${origin}/endless`, { signal: abort.signal });
  await endless.body!.getReader().read();
  abort.abort();
  seen["after the abort"] = await hash(await fetch(`${origin}/gzip`));
  return seen;
}
