/** Clients of servers that are not Node's: ioredis, pg, and core's http for nginx. */
import { once } from "node:events";
import net from "node:net";
import { Redis } from "ioredis";
import pg from "pg";
import { ask, keepAliveAgent } from "./http-client.js";
import { bodyOf, type Seen, sha256 } from "./seen.js";

export async function redis(port: number): Promise<Seen> {
  const client = new Redis(port, "127.0.0.1", { lazyConnect: true });
  await client.connect();
  const seen: Seen = {};
  await client.flushall();
  for (let i = 0; i < 10; i++) {
    await client.set(`key ${i}`, bodyOf(i, i * 60_013));
    seen[`key ${i}`] = sha256((await client.getBuffer(`key ${i}`))!);
  }
  const results = await Array.from({ length: 200 }, (_, i) => i)
    .reduce((pipeline, i) => pipeline.incrby("sum", i), client.pipeline())
    .exec();
  seen["pipeline"] = sha256(JSON.stringify(results));
  const listener = client.duplicate({ lazyConnect: true });
  await listener.connect();
  await listener.subscribe("news");
  const news = once(listener, "message");
  await client.publish("news", "x".repeat(70_000));
  seen["news"] = sha256((await news)[1] as string);
  await listener.quit();
  await client.quit();
  return seen;
}

export async function postgres(port: number, user: string): Promise<Seen> {
  const client = new pg.Client({ host: "127.0.0.1", port, user, database: "postgres" });
  await client.connect();
  const seen: Seen = {};
  const rows = await client.query("select i, repeat(chr(65 + i % 26), i) as text from generate_series(1, 1200) as i");
  seen["rows"] = `${rows.rowCount} ${sha256(JSON.stringify(rows.rows))}`;
  const bytes = await client.query({
    name: "by name",
    text: "select $1::bytea as bytes",
    values: [bodyOf(1, 900_000)],
  });
  seen["bytes"] = sha256(bytes.rows[0].bytes as Buffer);
  seen["error"] = await client.query("select 1 / 0").then(
    () => "none",
    (error: pg.DatabaseError) => String(error.code),
  );
  await client.query("listen news");
  const news = once(client, "notification");
  await client.query("select pg_notify('news', 'heard')");
  seen["news"] = String((await news)[0].payload);
  await client.end();
  return seen;
}

/** Takes: paths on a web server. */
export async function web(port: number, paths: readonly string[]): Promise<Seen> {
  const agent = keepAliveAgent(3);
  const seen: Seen = {};
  const all = paths.map(async (path) => {
    const { status, headers, body } = await ask(agent, port, path);
    seen[path] = `${status} ${headers["content-length"]} ${sha256(body)}`;
  });
  await Promise.all(all);
  agent.destroy();
  return seen;
}

/** A client that waits for the server's first word, and answers it. Returns: what the server said. */
export async function greeted(port: number): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  const [greeting] = (await once(socket, "data")) as [Buffer];
  socket.end(`EHLO to ${greeting}`);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return `${greeting}${Buffer.concat(chunks)}`;
}
