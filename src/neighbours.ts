/**
 * Stacks of other processes, for the rendezvous of this one: the registry of listeners and first contact, put together.
 *
 * Owns opening both, which happens at the first listen or connect, and the reasons why there is no way to other processes.
 */
import { lstatSync, opendirSync, unlinkSync } from "node:fs";
import { STACK_CAPACITY } from "../assembly/shared/layout.js";
import type { SmcOptions } from "./config.js";
import { type ContactHost, Contacts, type Stranger } from "./device/contact.js";
import { ShmDevice } from "./device/shm.js";
import { type Credentials, isAbandoned } from "./host/unix-socket.js";
import type { Endpoint } from "./rendezvous/address.js";
import type { Neighbour, Neighbourhood, Wildcard } from "./rendezvous/arena.js";
import { ListenerDirectory } from "./rendezvous/directory.js";
import type { Entry } from "./rendezvous/entry.js";
import { openRuntimeDirectory, overflowId, type RuntimeDirectory, SOCKETS } from "./rendezvous/runtime-directory.js";

/** From a death that was noticed, or from our start, until its traces are cleared away, ms. */
const SWEEP_AFTER_MS = 2500;
/** A socket that is so young may be about to listen, ms. */
const YOUNG_MS = 2000;
/** How long a found listener is believed without a look: a stale one costs a contact or a claim in vain, ms. */
const BELIEVED_MS = 1;
/** Sockets looked at in one sweep. */
const MOST_SWEPT = 1024;

const hex = (value: bigint): string => value.toString(16).padStart(16, "0");

/** The stack an entry names; undefined for one that no stack of ours can have written. */
function strangerOf({ gid, socket }: Entry, directory: RuntimeDirectory): Stranger | undefined {
  const process = BigInt(`0x${gid.slice(0, 16)}`);
  const stack = BigInt(`0x${gid.slice(16)}`);
  const slot = Number(stack & 0xffn);
  const generation = Number(stack >> 8n);
  if (slot >= STACK_CAPACITY || generation === 0 || generation >= 1 << 24) return undefined;
  return { gid: process, slot, generation, path: directory.at(`${SOCKETS}/${socket}`) };
}

/** What the stack gives; trust and limits come from its options. */
export type NeighboursHost = Omit<ContactHost, "trusts" | "eids" | "contactMs" | "idleMs" | "peerBytes"> & {
  readonly options: SmcOptions;
};

/** Own user, and who is allow-listed; never the id that stands for all users unknown here. Process ids are never looked at. */
function trustOf({ shmUids, shmGids }: SmcOptions): (peer: Credentials) => boolean {
  const own = process.geteuid?.();
  const unknown = overflowId("uid");
  return ({ uid, gid }) => uid !== unknown && (uid === own || shmUids.includes(uid) || shmGids.includes(gid));
}

/** The way to other processes, or why there is none. */
export function openNeighbours({ options, ...stack }: NeighboursHost): Neighbours | { readonly reason: string } {
  const directory = openRuntimeDirectory({ path: options.runtimeDir, gids: [...options.shmGids] });
  if ("reason" in directory) return directory;
  const host: ContactHost = {
    ...stack,
    eids: options.ueids,
    contactMs: options.contactMs,
    idleMs: options.shmIdleMs,
    peerBytes: options.shmPeerMiB * 2 ** 20,
    trusts: trustOf(options),
    lost: () => {
      neighbours.bereaved();
      stack.lost();
    },
  };
  const neighbours = new Neighbours(host, directory, options.shmConnections);
  neighbours.sweepLater();
  return neighbours;
}

export class Neighbours implements Neighbourhood {
  readonly contacts: Contacts;
  readonly device: ShmDevice;
  readonly #host: ContactHost;
  readonly #directory: RuntimeDirectory;
  readonly #listeners: ListenerDirectory;
  /** Name of our socket, and the stack's own 128-bit GID. */
  readonly #name: string;
  /** What was read stays the same object until it is read again. */
  readonly #known = new WeakMap<Entry, Stranger>();
  #lookedUp: Endpoint | undefined;
  #found: readonly Stranger[] = [];
  #foundUntil = 0;
  #sweeping: NodeJS.Timeout | undefined;
  /** A stack has died since the last sweep. */
  #bereaved = false;

  constructor(host: ContactHost, directory: RuntimeDirectory, mostConnections: number) {
    this.#host = host;
    this.#directory = directory;
    const stack = (BigInt(host.generation) << 8n) | BigInt(host.slot);
    this.#name = hex(host.gid) + hex(stack);
    this.#listeners = new ListenerDirectory(directory, { gid: this.#name });
    // A ring may be news on a connection, or an answer to a contact.
    const wake = (): void => {
      this.contacts.look();
      host.wake();
    };
    this.contacts = new Contacts({ ...host, wake });
    const { abi, gid, slot, generation } = host;
    this.device = new ShmDevice(abi, this.contacts, gid, slot, generation, mostConnections);
  }

  listen(server: Endpoint, wildcard: Wildcard): () => void {
    if (!this.contacts.serve(this.#directory.at(`${SOCKETS}/${this.#name}`))) return () => {};
    return this.#listeners.enter(server, wildcard, this.#name) ?? (() => {});
  }

  /**
   * Listeners of other processes. One connect asks twice, before it meets them and after, and many connects to one address
   * follow each other: who was found is believed for a moment. Who was not is looked for again.
   */
  #strangers(server: Endpoint): readonly Stranger[] {
    const now = performance.now();
    const before = this.#lookedUp;
    const same = before === server || (before?.port === server.port && before.address === server.address);
    if (same && this.#found.length > 0 && now < this.#foundUntil) return this.#found;
    const found: Stranger[] = [];
    for (const entry of this.#listeners.find(server)) {
      const stranger = this.#stranger(entry);
      if (stranger !== undefined) found.push(stranger);
    }
    this.#lookedUp = server;
    this.#found = found;
    this.#foundUntil = now + BELIEVED_MS;
    return found;
  }

  /** The stack of another process that an entry names. */
  #stranger(entry: Entry): Stranger | undefined {
    const known = this.#known.get(entry);
    if (known !== undefined) return known;
    const stranger = strangerOf(entry, this.#directory);
    if (stranger === undefined || stranger.gid === this.#host.gid) return undefined;
    this.#known.set(entry, stranger);
    return stranger;
  }

  listeners(server: Endpoint): readonly Neighbour[] {
    const met: Neighbour[] = [];
    for (const { gid, slot, generation } of this.#strangers(server)) {
      const door = this.contacts.find(gid, slot, generation);
      if (door !== undefined) met.push(door);
    }
    return met;
  }

  approach(server: Endpoint, done: () => void): (() => void) | undefined {
    const { contacts } = this;
    const open = new Set<() => void>();
    let asking = true;
    for (const stranger of this.#strangers(server)) {
      const known = contacts.find(stranger.gid, stranger.slot, stranger.generation) !== undefined;
      if (known || !contacts.approachable(stranger)) continue;
      const cancel = contacts.meet(stranger, () => {
        open.delete(cancel);
        if (open.size === 0 && !asking) done();
      });
      open.add(cancel);
    }
    asking = false;
    if (open.size === 0) return undefined;
    return () => {
      for (const cancel of open) cancel();
    };
  }

  clients(): Iterable<Neighbour> {
    return this.contacts.doors();
  }

  /** A stack of this process or of another has died, perhaps killed: what it left is cleared away, at the latest when we end. */
  bereaved(): void {
    this.#bereaved = true;
    this.sweepLater();
  }

  /** Some time from now, once for many: clears away what killed processes left in the runtime directory. */
  sweepLater(): void {
    this.#sweeping ??= setTimeout(() => {
      this.#sweeping = undefined;
      this.#sweep();
    }, SWEEP_AFTER_MS).unref();
  }

  #sweep(): void {
    this.#bereaved = false;
    this.#listeners.sweep();
    this.#sweepSockets();
  }

  /** A socket that nobody listens on is a dead stack's: names are never used twice. */
  #sweepSockets(): void {
    try {
      const sockets = opendirSync(this.#directory.at(SOCKETS));
      try {
        for (let i = 0; i < MOST_SWEPT; i++) {
          const item = sockets.readSync();
          if (item === null) break;
          if (item.name !== this.#name) this.#sweepSocket(this.#directory.at(`${SOCKETS}/${item.name}`));
        }
      } finally {
        sockets.closeSync();
      }
    } catch {
      // The directory is gone.
    }
  }

  #sweepSocket(path: string): void {
    try {
      const ageMs = Date.now() - lstatSync(path).mtimeMs;
      // Too young to tell: a later sweep will. A time to come is none of a living stack's.
      if (ageMs >= 0 && ageMs < YOUNG_MS) this.sweepLater();
      else if (isAbandoned(path)) unlinkSync(path);
    } catch {
      // Somebody else was faster; or it is nothing that can be swept, which holds up no other.
    }
  }

  /** This stack ends: others stop finding it. */
  close(): void {
    if (this.#bereaved) this.#sweep();
    clearTimeout(this.#sweeping);
    this.#listeners.close();
    this.contacts.close();
  }
}
