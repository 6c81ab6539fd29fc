/**
 * The two sides of `idle`: one holds accepted connections, the other keeps as many open as it is told.
 *
 * Owns the opening of connections with a full ring pushed through each, the active connection beside them, and garbage
 * collection on demand. Knows nothing of what is measured meanwhile.
 */
import type { Server, Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { connectReceiver, type Sent, SocketSender } from "./flow.js";
import { patternAt, Receipt } from "./pattern.js";
import { eventEcho } from "./rtt.js";
import type { Operations, SideSetup } from "./side.js";
import { type Address, acceptOne, connectOne, listen, loadTransport, type SocketTransport } from "./transports.js";

/** DMB of an idle connection, and what is pushed through it each way before it rests, bytes. */
export const IDLE_DMB_BYTES = 16_384;
/** Connections being opened at one time. */
const OPENING = 64;

export interface Addresses {
  readonly idle: Address;
  readonly active: Address;
}

export interface HolderSide extends Operations {
  listen(argument: undefined): Promise<Addresses>;
  send(durationMs: number): Promise<Sent>;
  /** Connections held. */
  held(argument: undefined): number;
  collect(argument: undefined): void;
  close(argument: undefined): void;
}
export interface KeeperSide extends Operations {
  /** Opens the active connection. */
  connect(addresses: Addresses): Promise<void>;
  /** Opens that many connections and leaves them idle. */
  open(count: number): Promise<void>;
  /** From now on compare each byte of the active connection, or the ends of each piece. */
  strict(on: boolean): void;
  arrived(total: number): Promise<number>;
  collect(argument: undefined): void;
  close(argument: undefined): void;
}

/** Collects garbage in this thread, twice: what finalizers let go is collected by the second. */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  collect();
}

/** Options of the idle connections' transport: the smallest DMB and sndbuf. */
function loadIdleTransport(setup: SideSetup): Promise<SocketTransport> {
  return loadTransport(setup, { rmem: IDLE_DMB_BYTES, wmem: IDLE_DMB_BYTES });
}

export async function holderSide(setup: SideSetup): Promise<HolderSide> {
  const { transport, params } = setup;
  const way = await loadIdleTransport(setup);
  const held = new Set<Socket>();
  const idle = way.createServer((socket) => {
    way.check(socket);
    held.add(socket);
    const echo = eventEcho(IDLE_DMB_BYTES, (message) => socket.write(message));
    socket.on("data", echo);
  });
  let active: { server: Server; accepted: Promise<Socket> } | undefined;
  let sender: SocketSender | undefined;
  return {
    async listen() {
      const acceptance = await acceptOne(setup);
      active = acceptance;
      return { idle: await listen(transport, idle), active: acceptance.address };
    },
    async send(durationMs) {
      sender ??= new SocketSender(await active!.accepted, params.bytes!);
      return sender.send(durationMs);
    },
    held: () => held.size,
    collect: collectGarbage,
    close() {
      for (const socket of held) socket.destroy();
      idle.close();
      active?.server.close();
    },
  };
}

export async function keeperSide(setup: SideSetup): Promise<KeeperSide> {
  const way = await loadIdleTransport(setup);
  const kept: Socket[] = [];
  const receipt = new Receipt();
  let addresses: Addresses | undefined;
  let active: Socket | undefined;

  async function openOne(): Promise<void> {
    const socket = await connectOne(way, addresses!.idle);
    const sent = patternAt(kept.push(socket) * 8, IDLE_DMB_BYTES);
    const answer = Buffer.allocUnsafeSlow(IDLE_DMB_BYTES);
    let filled = 0;
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.on("data", (piece: Buffer) => {
        filled += piece.copy(answer, filled);
        if (filled < sent.length) return;
        socket.removeAllListeners("data");
        if (answer.equals(sent)) resolve();
        else reject(new Error("a connection did not return what was sent through it"));
      });
      socket.write(sent);
    });
    socket.on("data", (piece: Buffer) => {
      throw new Error(`${piece.length} bytes came on an idle connection`);
    });
  }

  return {
    async connect(where) {
      addresses = where;
      active = await connectReceiver(setup, where.active, receipt);
    },
    async open(count) {
      let left = count;
      const opener = async () => {
        while (left-- > 0) await openOne();
      };
      await Promise.all(Array.from({ length: Math.min(OPENING, count) }, opener));
    },
    strict(on) {
      receipt.strict = on;
    },
    arrived: (total) => receipt.reached(total),
    collect: collectGarbage,
    close() {
      active?.destroy();
      for (const socket of kept) socket.destroy();
    },
  };
}
