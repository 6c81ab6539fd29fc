/**
 * A listener by hand: it is entered in the registry as any, and answers the contacts of honest processes with lies.
 *
 * Owns its entry and its unix socket. Tells of each contact that comes; what is answered is the test's.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { LAYOUT_VERSION } from "../../assembly/shared/layout.js";
import { duplicate, receiveFrame } from "../../src/host/unix-socket.js";
import { ListenerDirectory } from "../../src/rendezvous/directory.js";
import { openRuntimeDirectory, type RuntimeDirectory } from "../../src/rendezvous/runtime-directory.js";
import {
  type AnswerFrame,
  CONTACT_FRAME_SIZE,
  type ContactFrame,
  decodeChannelFrame,
  encodeChannelFrame,
} from "../../src/wire/contact.js";
import { happens, until } from "../support/watchdog.js";
import { made } from "./hostile-descriptors.js";
import { anyU64 } from "./hostile-peer.js";

/** A contact of the victim: where to answer, what it said, the bell and the box that it gave. */
export interface Asked {
  readonly socket: number;
  readonly frame: ContactFrame;
  readonly bell: number;
  readonly box: number;
}

const hex = (value: bigint): string => value.toString(16).padStart(16, "0");

export class HostileListener {
  readonly gid = anyU64();
  readonly slot = 2;
  readonly generation = 4;
  readonly #onContact: (asked: Asked) => void;
  readonly #name = hex(this.gid) + hex((BigInt(this.generation) << 8n) | BigInt(this.slot));
  readonly #server: Server;
  #directory: RuntimeDirectory | undefined;
  #leave: (() => void) | undefined;
  /** What went wrong while a contact was taken. */
  error: unknown;

  constructor(onContact: (asked: Asked) => void) {
    this.#onContact = onContact;
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      this.#take(socket).catch((error: unknown) => (this.error = error));
    });
  }

  /** Says that it listens at `port` of 127.0.0.1. */
  async enter(directory: string, port: number): Promise<this> {
    const opened = openRuntimeDirectory({ path: directory });
    if ("reason" in opened) throw new Error(opened.reason);
    this.#directory = opened;
    this.#server.listen(opened.at(`s/${this.#name}`));
    await happens(this.#server, "listening");
    const listeners = new ListenerDirectory(opened, { gid: this.#name });
    this.#leave = listeners.enter({ address: "127.0.0.1", port }, "none", this.#name);
    return this;
  }

  /** Lies about where it listens; to be called before anybody has looked. */
  pretend(lie: { readonly netns: number; readonly probe: number }): void {
    const listeners = this.#directory!.at("l");
    for (const name of readdirSync(listeners, { recursive: true, encoding: "utf8" })) {
      if (!name.includes(`/${this.#name}.`)) continue;
      const entry = join(listeners, name);
      writeFileSync(entry, JSON.stringify({ ...JSON.parse(readFileSync(entry, "utf8")), ...lie }));
    }
  }

  async #take(accepted: Socket): Promise<void> {
    const { fd } = (accepted as unknown as { _handle: { fd: number } })._handle;
    const socket = made(duplicate(fd));
    accepted.destroy();
    const frame = new Uint8Array(CONTACT_FRAME_SIZE);
    let received: ReturnType<typeof receiveFrame> = "empty";
    await until(() => (received = receiveFrame(socket, frame)) !== "empty", "a contact of the victim");
    if (typeof received === "string") return;
    const { length, descriptors } = received as { length: number; descriptors: readonly number[] };
    for (const descriptor of descriptors) made(descriptor);
    const asked = decodeChannelFrame(frame.subarray(0, length), LAYOUT_VERSION) as ContactFrame;
    this.#onContact({ socket, frame: asked, bell: descriptors[0]!, box: descriptors[1]! });
  }

  /** The honest answer but for `change`. */
  answer({ frame }: Asked, change: Partial<Omit<AnswerFrame, "type">> = {}): Uint8Array {
    const { gid, slot, generation } = this;
    const honest: AnswerFrame = {
      ...{ type: "answer", gid, nonce: frame.nonce, slot, generation, eids: ["SMCNET"], mostBlocks: 16384 },
      ...{ refusal: 0, gifts: true, reached: true },
      ...change,
    };
    return encodeChannelFrame(honest, LAYOUT_VERSION);
  }

  async close(): Promise<void> {
    this.#leave?.();
    this.#server.close();
    await happens(this.#server, "close");
    this.#directory?.close();
    if (this.error !== undefined) throw this.error;
  }
}
