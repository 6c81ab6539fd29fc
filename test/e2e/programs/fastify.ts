/** A fastify application, and a keep-alive client of core. */
import { Readable } from "node:stream";
import fastify from "fastify";
import { type Answer, ask, keepAliveAgent } from "./http-client.js";
import { bodyOf, type Seen, sha256 } from "./seen.js";

export async function serve(): Promise<number> {
  const app = fastify({ bodyLimit: 4 << 20 });
  app.addContentTypeParser("application/octet-stream", { parseAs: "buffer" }, (_request, body, done) =>
    done(null, body),
  );
  app.get("/json/:name", ({ params, query }) => ({ params, query, list: [1, 2, 3] }));
  app.post("/echo", ({ body }) => body);
  app.get("/stream", (_request, reply) =>
    reply.send(Readable.from(Array.from({ length: 40 }, (_, i) => bodyOf(i, 9_000)))),
  );
  app.get("/fail", () => {
    throw new Error("on purpose");
  });
  await app.listen({ port: 0, host: "127.0.0.1" });
  return (app.server.address() as { port: number }).port;
}

export async function converse(port: number): Promise<Seen> {
  const agent = keepAliveAgent(4);
  const seen: Seen = {};
  const note = (name: string, { status, headers, body }: Answer): void => {
    seen[name] = `${status} ${headers["content-type"]} ${headers["content-length"]} ${sha256(body)}`;
  };
  note("json", await ask(agent, port, "/json/ü?a=1&b=2"));
  note("stream", await ask(agent, port, "/stream"));
  note("missing", await ask(agent, port, "/missing"));
  note("fail", await ask(agent, port, "/fail"));
  const echoes = Array.from({ length: 24 }, async (_, i) =>
    note(`echo ${i}`, await ask(agent, port, "/echo", bodyOf(i, i * 20_011))),
  );
  await Promise.all(echoes);
  agent.destroy();
  return seen;
}
