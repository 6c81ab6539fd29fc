/** An http server that streams known bytes and checks those it is sent, and a client that aborts at random moments. */
import http, { type ClientRequest, type IncomingMessage } from "node:http";
import { Prng } from "../../support/prng.js";
import { Sequence, Verifier } from "../../support/sequence.js";
import { listening } from "./seen.js";

const PIECE_BYTES = 16_384;
const MOMENTS = ["before it is sent", "while it is sent", "after the head", "while it is answered", "never"] as const;
const HANG_UPS = ["ECONNRESET", "EPIPE", "ERR_STREAM_DESTROYED", "ERR_STREAM_PREMATURE_CLOSE", "ABORT_ERR"];

/** What went wrong on either side: bytes that are not those of the request's number. */
const wrong: string[] = [];
const notOfAbort = (error: NodeJS.ErrnoException): boolean => !HANG_UPS.includes(error.code ?? "");

async function upload(request: IncomingMessage, seed: number): Promise<number> {
  const verifier = new Verifier(seed);
  for await (const chunk of request) verifier.push(chunk as Buffer);
  return verifier.received;
}

/** POST /seed/length: checks the body, answers with `length` bytes of the same stream. */
export function serve(): Promise<number> {
  const server = http.createServer(async (request, response) => {
    const [, seed, length] = request.url!.split("/").map(Number) as [number, number, number];
    response.on("error", () => undefined);
    try {
      response.setHeader("x-received", await upload(request, seed));
    } catch (error) {
      if (notOfAbort(error as NodeJS.ErrnoException)) wrong.push(String(error));
      response.destroy();
      return;
    }
    const sequence = new Sequence(seed);
    let sent = 0;
    const more = (): void => {
      while (sent < length) {
        const piece = sequence.span(sent, Math.min(PIECE_BYTES, length - sent));
        sent += piece.length;
        if (!response.write(piece)) return;
      }
      if (!response.writableEnded) response.end();
    };
    response.on("drain", more);
    more();
  });
  return listening(server);
}

/** What was wrong since it was last asked. */
export const faults = (): string[] => wrong.splice(0);

function one(agent: http.Agent, port: number, seed: number, random: Prng): Promise<"whole" | "aborted"> {
  const moment = random.pick(MOMENTS);
  const up = random.oneIn(3) ? random.below(200_000) : random.below(2_000);
  const down = random.oneIn(3) ? random.below(400_000) : random.below(4_000);
  const at = random.below(1 + (moment === "while it is sent" ? up : down));
  return new Promise((resolve) => {
    let whole = false;
    const abort = (request: ClientRequest): void => void request.destroy();
    const request = http.request({ agent, port, host: "127.0.0.1", method: "POST", path: `/${seed}/${down}` });
    request.on("error", (error: NodeJS.ErrnoException) => {
      if (moment === "never" || notOfAbort(error)) wrong.push(`${moment}: ${error}`);
    });
    request.on("close", () => {
      if (moment === "never" && !whole) wrong.push(`request ${seed} was not aborted, and did not end`);
      resolve(whole ? "whole" : "aborted");
    });
    request.on("response", (response) => {
      const verifier = new Verifier(seed);
      response.on("error", () => undefined);
      response.on("data", (chunk: Buffer) => {
        if (request.destroyed) return;
        try {
          verifier.push(chunk);
        } catch (error) {
          wrong.push(String(error));
        }
        if (moment === "while it is answered" && verifier.received >= at) abort(request);
      });
      response.on("end", () => {
        if (request.destroyed && moment !== "never") return;
        whole = true;
        const told = response.headers["x-received"];
        if (verifier.received !== down || told !== String(up))
          wrong.push(`request ${seed}: ${told} of ${up} bytes up, ${verifier.received} of ${down} down`);
      });
      if (moment === "after the head") setImmediate(abort, request);
    });
    const body = new Sequence(seed).span(0, up);
    if (moment === "before it is sent") setImmediate(abort, request);
    if (moment === "while it is sent") {
      request.write(body.subarray(0, at));
      setImmediate(abort, request);
    } else request.end(body);
  });
}

/** So many requests, 16 at a time, on sockets that are used again where they survive. */
export async function storm(port: number, count: number, seed: number): Promise<{ whole: number; aborted: number }> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  const random = new Prng(seed);
  const sum = { whole: 0, aborted: 0 };
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count) sum[await one(agent, port, seed + (next++ % 8), random)]++;
  };
  await Promise.all(Array.from({ length: 16 }, work));
  agent.destroy();
  return sum;
}
