/**
 * A real handshake on loopback, captured while it happens: tshark recognises every CLC message, shows every field as it
 * was sent and finds nothing malformed; and after it the TCP connection carries not one byte of the application.
 *
 * Skipped without tshark, or where it may not capture.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { AddressInfo, Server, Socket } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SmcOptions } from "../../src/index.js";
import * as smc from "../../src/index.js";
import { expectedFields } from "../support/clc-fields.js";
import { testUnless } from "../support/missing.js";
import { dissect, tsharkMissing, tsharkVersion } from "../support/tshark.js";
import { happens, until, within } from "../support/watchdog.js";

function captureMissing(): string | undefined {
  if (tsharkMissing !== undefined) return tsharkMissing;
  const { status, stdout } = spawnSync("tshark", ["-D"], { encoding: "utf8" });
  return status === 0 && /\blo\b/.test(stdout) ? undefined : "tshark may not capture on lo";
}

/** A running capture of one TCP port on lo. */
class Capture {
  readonly #child: ChildProcess;
  #bytes = Buffer.alloc(0);

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on("data", (data: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, data]);
    });
  }

  /** Resolves once packets are being captured: it has seen the probe. */
  static async start(port: number, probe: () => Promise<void>): Promise<Capture> {
    const args = ["-i", "lo", "-f", `tcp port ${port}`, "-l", "-w", "-"];
    const capture = new Capture(spawn("tshark", args, { stdio: ["ignore", "pipe", "ignore"] }));
    while (capture.#bytes.length < 400) await probe();
    return capture;
  }

  holds(bytes: Uint8Array): boolean {
    return this.#bytes.includes(Buffer.from(bytes));
  }

  async stop(): Promise<Buffer> {
    this.#child.kill("SIGINT");
    await within(once(this.#child, "close"), "tshark to end");
    return this.#bytes;
  }
}

interface Sent {
  readonly messages: Uint8Array[];
  readonly capture: Buffer;
  readonly mode: string | undefined;
}

const APPLICATION = Buffer.from("bytes that must not be on the wire");

/** One connection between two sockets with these options, captured from before its SYN. */
async function converse(client: Partial<SmcOptions>, server: Partial<SmcOptions>): Promise<Sent> {
  const messages: Uint8Array[] = [];
  const listen = (message: unknown): void => {
    const { direction, bytes } = message as { direction: string; bytes: Uint8Array };
    if (direction === "sent") messages.push(bytes);
  };
  const listener: Server = smc.createServer({ smc: server }, (socket) => socket.pipe(socket));
  listener.listen(0, "127.0.0.1");
  await happens(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const capture = await Capture.start(port, async () => {
    // A plain connection of no bytes: something to capture until capturing has begun.
    const probe: Socket = smc.connect({ port, host: "127.0.0.1", smc: { enabled: false } });
    await happens(probe, "connect");
    probe.destroy();
    await happens(probe, "close");
  });
  smc.channels.clc.subscribe(listen);
  const socket = smc.connect({ port, host: "127.0.0.1", smc: client });
  await happens(socket, "connect");
  smc.channels.clc.unsubscribe(listen);
  const { mode } = socket.smc ?? {};
  socket.write(APPLICATION);
  const [echo] = (await happens(socket, "data")) as [Buffer];
  assert.equal(echo, APPLICATION);
  socket.end();
  await happens(socket, "close");
  await until(() => messages.every((bytes) => capture.holds(bytes)), "every message in the capture");
  listener.close();
  return { messages, mode, capture: await capture.stop() };
}

const capturing = suite(`capture (${tsharkVersion})`);
const captured = testUnless(captureMissing(), capturing);

async function compare({ messages, capture }: Sent): Promise<void> {
  const expected = messages.map(expectedFields);
  const names = [...new Set(expected.flatMap((frame) => Object.keys(frame)))];
  const frames = await dissect(
    capture,
    "smc",
    names.map((name) => `smc.${name}`),
  );
  assert.is(frames.length, messages.length, "every message is recognised, and nothing else is taken for one");
  for (const [i, fields] of expected.entries())
    for (const [name, value] of Object.entries(fields))
      assert.equal(frames[i]![`smc.${name}`], [value].flat(), `message ${i}: ${name}`);
  assert.equal(await dissect(capture, "_ws.malformed", ["frame.number"]), []);
}

captured("Proposal, Accept, Confirm of version 2", async () => {
  const sent = await converse({}, {});
  assert.is(sent.mode, "SMCD");
  assert.is(sent.messages.length, 3);
  await compare(sent);
  assert.not.ok(sent.capture.includes(APPLICATION), "the application's bytes were not on the TCP connection");
});

captured("the same in version 1", async () => {
  const sent = await converse({ clcVersion: 1 }, {});
  assert.is(sent.mode, "SMCD");
  assert.is(sent.messages.length, 3);
  await compare(sent);
});

captured("Proposal and Decline, then TCP: no EID in common", async () => {
  const sent = await converse({ ueids: ["THEIRS"] }, { ueids: ["OURS"] });
  assert.is(sent.mode, "TCP");
  assert.is(sent.messages.length, 2);
  await compare(sent);
  assert.ok(sent.capture.includes(APPLICATION), "after the Decline the bytes go over TCP");
});

capturing.run();
