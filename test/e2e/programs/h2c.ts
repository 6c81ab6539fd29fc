/** HTTP/2 without TLS: many streams of one session, large bodies both ways, a reset stream. */
import { once } from "node:events";
import http2, { type ClientHttp2Session } from "node:http2";
import { bodyOf, listening, type Seen, sha256 } from "./seen.js";

export function serve(): Promise<number> {
  const server = http2.createServer();
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    stream.respond({ ":status": 200, "x-path": headers[":path"]! });
    stream.pipe(stream);
  });
  return listening(server);
}

async function request(session: ClientHttp2Session, path: string, body: Buffer): Promise<string> {
  const stream = session.request({ ":path": path, ":method": "POST" });
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.end(body);
  // All of it may come in one turn.
  const ended = once(stream, "end");
  const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
  await ended;
  return `${headers[":status"]} ${headers["x-path"]} ${sha256(Buffer.concat(chunks))}`;
}

export async function converse(port: number): Promise<Seen> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const seen: Seen = {};
  const reset = session.request({ ":path": "/reset", ":method": "POST" });
  reset.on("error", () => undefined);
  reset.write(bodyOf(1, 100_000));
  await once(reset, "response");
  reset.close(http2.constants.NGHTTP2_CANCEL);
  const all = Array.from({ length: 40 }, async (_, i) => {
    seen[i] = await request(session, `/${i}`, bodyOf(i, i * 5_003));
  });
  await Promise.all(all);
  session.close();
  await once(session, "close");
  return seen;
}
