/**
 * Stacks of other processes, for the rendezvous of this one: the registry of listeners and first contact, put together.
 *
 * Owns opening both, which happens at the first listen or connect, and the reasons why there is no way to other processes.
 */
import { lstatSync, opendirSync, unlinkSync } from "node:fs";
import { BLOCK_SIZE, STACK_CAPACITY } from "../assembly/shared/layout.js";
import type { SmcOptions } from "./config.js";
import type { Stranger } from "./device/ask.js";
import { Contacts } from "./device/contact.js";
import type { ContactHost } from "./device/meeting.js";
import { Probes } from "./device/probe.js";
import { ShmDevice } from "./device/shm.js";
import { closeDescriptor } from "./host/libc.js";
import { createMemfd, pageSize } from "./host/memfd.js";
import { type Credentials, isAbandoned } from "./host/unix-socket.js";
import type { Endpoint } from "./rendezvous/address.js";
import { ListenerDirectory } from "./rendezvous/directory.js";
import type { Entry } from "./rendezvous/entry.js";
import type { Neighbour, Neighbourhood, Wildcard } from "./rendezvous/host.js";
import { isLocal } from "./rendezvous/listener-key.js";
import { Proofs } from "./rendezvous/proofs.js";
import { openRuntimeDirectory, overflowId, type RuntimeDirectory, SOCKETS } from "./rendezvous/runtime-directory.js";
import { debug } from "./trace.js";

/** From a death that was noticed, or from our start, until its traces are cleared away, ms. */
const SWEEP_AFTER_MS = 2500;
/** A socket that is so young may be about to listen, ms. */
const YOUNG_MS = 2000;
/** How long a found listener is believed without a look: a stale one costs a contact or a claim in vain, ms. */
const BELIEVED_MS = 5;
/** How long it is believed that nobody listens, ms: who begins to in that time is reached by TCP once more. */
const NOBODY_MS = 1;
/** Sockets looked at in one sweep. */
const MOST_SWEPT = 1024;

/** A stack that listens, as it says. */
type Listener = Stranger &
  Pick<Entry, "netns" | "probe"> & { /** Never that of another stack. */ readonly name: string };

const hex = (value: bigint): string => value.toString(16).padStart(16, "0");

/** The stack an entry names; undefined for one that no stack of ours can have written. */
function listenerOf({ gid, socket, netns, probe }: Entry, directory: RuntimeDirectory): Listener | undefined {
  const process = BigInt(`0x${gid.slice(0, 16)}`);
  const stack = BigInt(`0x${gid.slice(16)}`);
  const slot = Number(stack & 0xffn);
  const generation = Number(stack >> 8n);
  if (slot >= STACK_CAPACITY || generation === 0 || generation >= 1 << 24) return undefined;
  return { gid: process, slot, generation, path: directory.at(`${SOCKETS}/${socket}`), name: gid, netns, probe };
}

/** What the stack gives; trust and limits come from its options. */
export type NeighboursHost = Omit<ContactHost, "trusts" | "eids" | "contactMs" | "idleMs" | "mostBlocks" | "probes"> & {
  readonly options: SmcOptions;
};

/** Own user, and who is allow-listed; never the id that stands for all users unknown here. Process ids are never looked at. */
function trustOf({ shmUids, shmGids }: SmcOptions): (peer: Credentials) => boolean {
  const own = process.geteuid?.();
  const unknown = overflowId("uid");
  return ({ uid, gid }) => uid !== unknown && (uid === own || shmUids.includes(uid) || shmGids.includes(gid));
}

/** Why this kernel shares no memory, as containers' profiles may have it; undefined where it does. Tried out. */
function memfdMissing(): string | undefined {
  try {
    closeDescriptor(createMemfd("smcnet-probe", pageSize()));
    return undefined;
  } catch (error) {
    return `no sealed memory to share: ${(error as Error).message}`;
  }
}

/** The way to other processes, or why there is none. */
export function openNeighbours({ options, ...stack }: NeighboursHost): Neighbours | { readonly reason: string } {
  const reason = memfdMissing();
  if (reason !== undefined) return { reason };
  const directory = openRuntimeDirectory({ path: options.runtimeDir, gids: [...options.shmGids] });
  if ("reason" in directory) return directory;
  const host: ContactHost = {
    ...stack,
    eids: options.ueids,
    contactMs: options.contactMs,
    idleMs: options.shmIdleMs,
    mostBlocks: (options.shmPeerMiB * 2 ** 20) / BLOCK_SIZE,
    probes: new Probes(),
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
  readonly #known = new WeakMap<Entry, Listener>();
  readonly #proofs = new Proofs();
  #lookedUp: Endpoint | undefined;
  #found: readonly Listener[] = [];
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
    this.device = new ShmDevice(abi, this.contacts.pairs, gid, slot, generation, mostConnections);
  }

  listen(server: Endpoint, wildcard: Wildcard): () => void {
    if (!this.contacts.serve(this.#directory.at(`${SOCKETS}/${this.#name}`))) return () => {};
    const probe = isLocal(server, wildcard) ? 0 : this.#host.probes.port;
    return this.#listeners.enter(server, wildcard, this.#name, probe) ?? (() => {});
  }

  /**
   * Listeners of other processes. One connect asks several times, before it meets them and after, and many connects to one address
   * follow each other: what was found is believed for a moment.
   */
  #strangers(server: Endpoint): readonly Listener[] {
    const now = performance.now();
    const before = this.#lookedUp;
    const same = before === server || (before?.port === server.port && before.address === server.address);
    if (same && now < this.#foundUntil) return this.#found;
    const found: Listener[] = [];
    for (const entry of this.#listeners.find(server)) {
      const stranger = this.#stranger(entry);
      if (stranger !== undefined) found.push(stranger);
    }
    this.#lookedUp = server;
    this.#found = found;
    this.#foundUntil = now + (found.length > 0 ? BELIEVED_MS : NOBODY_MS);
    return found;
  }

  /** The stack of another process that an entry names. */
  #stranger(entry: Entry): Listener | undefined {
    const known = this.#known.get(entry);
    if (known !== undefined) return known;
    const stranger = listenerOf(entry, this.#directory);
    if (stranger === undefined || stranger.gid === this.#host.gid) return undefined;
    this.#known.set(entry, stranger);
    return stranger;
  }

  /**
   * Whether who dials `address` is connected in the network namespace of `listener`: only there a 4-tuple is one connection's.
   *
   * Returns: undefined where that has to be found out.
   */
  #leads(address: string, { name, netns, probe }: Listener): boolean | undefined {
    if (netns === this.#listeners.namespace) return true;
    return probe === 0 ? false : this.#proofs.find(name, address);
  }

  knows(server: Endpoint): boolean {
    return this.#strangers(server).length > 0;
  }

  listeners(server: Endpoint): readonly Neighbour[] {
    const met: Neighbour[] = [];
    for (const stranger of this.#strangers(server)) {
      const { gid, slot, generation } = stranger;
      const door = this.#leads(server.address, stranger) ? this.contacts.pairs.find(gid, slot, generation) : undefined;
      if (door !== undefined) met.push(door);
    }
    return met;
  }

  approach(server: Endpoint, done: () => void): (() => void) | undefined {
    const { contacts } = this;
    const { address } = server;
    const open = new Set<() => void>();
    let asking = true;
    for (const stranger of this.#strangers(server)) {
      const leads = this.#leads(address, stranger);
      if (leads === false || contacts.shunned(stranger) !== undefined) continue;
      if (leads && contacts.pairs.find(stranger.gid, stranger.slot, stranger.generation) !== undefined) continue;
      const route = leads ? undefined : { address, port: stranger.probe };
      const cancel = contacts.meet(stranger, route, (door, reached) => {
        if (route !== undefined && door !== undefined) this.#prove(stranger, address, reached);
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

  unmet(server: Endpoint): string | undefined {
    for (const stranger of this.#strangers(server)) {
      const reason = this.contacts.shunned(stranger);
      if (reason !== undefined) return reason;
    }
    return undefined;
  }

  #prove({ name, path }: Listener, address: string, reached: boolean): void {
    this.#proofs.enter(name, address, reached);
    if (!reached) debug("%s is not known to lead to %s", address, path);
  }

  clients(): Iterable<Neighbour> {
    return this.contacts.pairs.doors();
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
    this.#host.probes.close();
  }
}
