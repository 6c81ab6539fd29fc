/**
 * Who of other processes listens where: the registry of listeners, in files of the runtime directory.
 *
 * Owns the names of entries, which are never used twice, and what was read of them. An entry counts as long as its lock
 * is held, which ends with the process or thread that made it, however that ends; then whoever finds it removes it.
 * Knows nothing of contacts: an entry that has just died costs its finder a contact in vain.
 * What lies here was written by others: it is bounded, and ignored where it is not as it should be.
 *
 *   l/<key>/<gid>.<serial>    one line of JSON, at most 512 bytes; one file under all keys of a listener (hard links)
 */
import { closeSync, fstatSync, linkSync, lstatSync, opendirSync, rmdirSync, unlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { networkNamespace } from "../host/files.js";
import { debug } from "../trace.js";
import type { Endpoint } from "./address.js";
import { checkEntry, ENTRY_NAME, type Entry, examineEntry, makeEntry } from "./entry.js";
import type { Wildcard } from "./host.js";
import { keysToEnter, keysToFind, LISTENER_KEY } from "./listener-key.js";
import { LISTENERS, type RuntimeDirectory } from "./runtime-directory.js";

/** What is looked at of one directory, however full it was made. */
const MAX_ENTRIES = 1024;
const MAX_KEYS = 16_384;
/** Keys remembered, those with entries and those without; then all are forgotten. */
const MAX_KNOWN = 1024;

/** Tries to enter while others remove the directory or look at the file just made. */
const ATTEMPTS = 100;

/** A directory that changed so recently may change again without its time telling: clocks of files tick every 1-10 ms. */
const SETTLED_MS = 20;
/** How long what was read is believed: nothing tells of a lock that went. */
const BELIEVED_MS = 100;

const NOBODY: readonly Entry[] = Object.freeze([]);

/** What was read of a key. */
interface Reading {
  readonly mtimeMs: number;
  readonly ino: number;
  readonly entries: readonly Entry[];
  /** Believed until then; monotonic, ms. */
  readonly until: number;
}

interface Listener {
  readonly descriptor: number;
  readonly name: string;
  readonly keys: string[];
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Does `remove`, or leaves it to whoever comes next. */
function ifPossible(remove: () => void): void {
  try {
    remove();
  } catch {
    // Gone, not empty, or not ours to remove.
  }
}

/** Names of directory `path`, at most `most`, those of regular files or of directories. Errors: Node's. */
function namesIn(path: string, kind: "isFile" | "isDirectory", most: number): string[] {
  const names: string[] = [];
  const directory = opendirSync(path);
  try {
    for (let i = 0; i < most; i++) {
      const item = directory.readSync();
      if (item === null) break;
      if (item[kind]()) names.push(item.name);
    }
  } finally {
    directory.closeSync();
  }
  return names;
}

/** Whether a directory with this time of change would show another change by another time. To be asked before it is read. */
const isSettled = (mtimeMs: number): boolean => Date.now() - mtimeMs >= SETTLED_MS;

/** Both lists, each stack once. */
const united = (some: readonly Entry[], more: readonly Entry[]): readonly Entry[] =>
  more.length === 0 ? some : [...new Map([...some, ...more].map((entry) => [entry.gid, entry])).values()];

const localAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));

/** One a stack and thread. */
export class ListenerDirectory {
  /** Number of the network namespace that its listeners are in. */
  readonly namespace: number;
  readonly #directory: RuntimeDirectory;
  readonly #gid: string;
  readonly #listeners = new Set<Listener>();
  readonly #readings = new Map<string, Reading>();
  /** Keys that were not there when the directory of all keys had the time `#absentMtimeMs`; believed until `#absentUntil`. */
  readonly #absent = new Set<string>();
  #absentMtimeMs = Number.NaN;
  #absentUntil = 0;
  /** The directory of all keys, from the first lookup on. */
  #keys: number | undefined;
  #serial = 0;
  #closed = false;

  /**
   * Takes: gid, 32 hexadecimal digits, random: no other stack ever had it; namespace, number of the network namespace that
   *        its listeners are in and that loopback addresses belong to.
   */
  constructor(directory: RuntimeDirectory, { gid }: { readonly gid: string }, namespace = networkNamespace()) {
    this.#directory = directory;
    this.#gid = gid;
    this.namespace = namespace;
  }

  /**
   * Enters a listener.
   *
   * Takes:   socket, the name others find its process by; probe, UDP port that takes probes, 0 for none.
   * Returns: what takes it out again, before the listening socket closes; undefined where the system refused.
   * Errors:  SmcError EINVAL for a gid or a name that no reader would take.
   */
  enter(server: Endpoint, wildcard: Wildcard, socket: string, probe = 0): (() => void) | undefined {
    const entry = { gid: this.#gid, socket, netns: this.namespace, probe };
    checkEntry(entry);
    if (this.#closed) return undefined;
    const keys = keysToEnter(server, wildcard, this.namespace, wildcard === "none" ? [] : localAddresses());
    let listener: Listener | undefined;
    try {
      listener = this.#make(keys[0]!, entry);
      for (const key of keys.slice(1)) this.#link(listener, key);
    } catch (error) {
      debug("listener %s %d is not in the runtime directory: %s", server.address, server.port, error);
      if (listener !== undefined) this.#leave(listener);
      return undefined;
    }
    const entered = listener;
    this.#listeners.add(entered);
    return () => this.#leave(entered);
  }

  #make(key: string, entry: Entry): Listener {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const name = `${this.#gid}.${++this.#serial}`;
      const descriptor = this.#inKey(key, (folder) => makeEntry(`${folder}/${name}`, entry, this.#directory.shared));
      if (descriptor !== undefined) return { descriptor, name, keys: [key] };
    }
    throw new Error(`${ATTEMPTS} entries were taken away while they were made`);
  }

  #link(listener: Listener, key: string): void {
    const first = this.#path(listener.keys[0]!, listener.name);
    this.#inKey(key, (folder) => linkSync(first, `${folder}/${listener.name}`));
    listener.keys.push(key);
  }

  /** Removes the names first: what is found is alive. */
  #leave(listener: Listener): void {
    if (listener.keys.length === 0) return;
    this.#listeners.delete(listener);
    for (const key of listener.keys.splice(0)) {
      ifPossible(() => unlinkSync(this.#path(key, listener.name)));
      ifPossible(() => rmdirSync(this.#path(key)));
    }
    closeSync(listener.descriptor);
  }

  #path(...parts: string[]): string {
    return this.#directory.at([LISTENERS, ...parts].join("/"));
  }

  /** Puts something into the directory of a key, which is made where it is missing, or where somebody has just removed it. */
  #inKey<T>(key: string, put: (folder: string) => T): T {
    for (let attempt = 1; ; attempt++) {
      try {
        return this.#within(key, put);
      } catch (error) {
        if (codeOf(error) !== "ENOENT" || attempt === ATTEMPTS) throw error;
        this.#directory.make(`${LISTENERS}/${key}`);
      }
    }
  }

  /** Does something with the directory of a key, by a path that no link can lead astray. */
  #within<T>(key: string, use: (folder: string) => T): T {
    const descriptor = this.#directory.open(`${LISTENERS}/${key}`);
    try {
      return use(`/proc/self/fd/${descriptor}`);
    } finally {
      closeSync(descriptor);
    }
  }

  /**
   * Who listens at `server`, this stack left out, each stack once. May be stale: a listener that left without taking its
   * entry out (killed) is still told of for at most 100 ms.
   *
   * Cost:    where there is nobody and no listener came or went, one `fstat`; where there are some and nothing changed, an
   *          `lstat` more.
   * Returns: empty also where the directory cannot be read. Never throws, never blocks.
   */
  find(server: Endpoint): readonly Entry[] {
    if (this.#closed) return NOBODY;
    let found = NOBODY;
    try {
      const absent = this.#absentKeys();
      for (const key of keysToFind(server, this.namespace)) {
        if (absent?.has(key)) continue;
        const entries = this.#look(key, absent);
        found = found.length === 0 ? entries : united(found, entries);
      }
    } catch (error) {
      debug("listeners at %s %d cannot be read: %s", server.address, server.port, error);
    }
    return found;
  }

  /** The keys known to be absent, to be added to; undefined where that could not be believed. */
  #absentKeys(): Set<string> | undefined {
    this.#keys ??= this.#directory.open(LISTENERS);
    const { mtimeMs } = fstatSync(this.#keys);
    const now = performance.now();
    if (mtimeMs === this.#absentMtimeMs && now < this.#absentUntil && this.#absent.size < MAX_KNOWN)
      return this.#absent;
    if (!isSettled(mtimeMs)) return undefined;
    this.#absent.clear();
    this.#absentMtimeMs = mtimeMs;
    this.#absentUntil = now + BELIEVED_MS;
    return this.#absent;
  }

  #look(key: string, absent: Set<string> | undefined): readonly Entry[] {
    // By its ordinary path, faster than by descriptor: this says only whether to read again.
    const stat = lstatSync(`${this.#directory.path}/${LISTENERS}/${key}`, { throwIfNoEntry: false });
    if (stat === undefined) {
      this.#readings.delete(key);
      absent?.add(key);
      return NOBODY;
    }
    const { mtimeMs, ino } = stat;
    const now = performance.now();
    const known = this.#readings.get(key);
    if (known !== undefined && known.mtimeMs === mtimeMs && known.ino === ino && now < known.until)
      return known.entries;
    if (this.#readings.size >= MAX_KNOWN) this.#readings.clear();
    const until = isSettled(mtimeMs) ? now + BELIEVED_MS : now;
    const entries = this.#read(key);
    this.#readings.set(key, { mtimeMs, ino, entries, until });
    return entries;
  }

  /** Reads a key: the living entries of others. Stale ones are removed, and the directory with the last of them. */
  #read(key: string): readonly Entry[] {
    const living = new Map<string, Entry>();
    this.#within(key, (folder) => {
      for (const name of namesIn(folder, "isFile", MAX_ENTRIES)) {
        const gid = ENTRY_NAME.exec(name)?.[1];
        if (gid === undefined || gid === this.#gid) continue;
        ifPossible(() => {
          const entry = examineEntry(`${folder}/${name}`, gid);
          if (entry !== undefined) living.set(gid, entry);
        });
      }
    });
    if (living.size > 0) return [...living.values()];
    ifPossible(() => rmdirSync(this.#path(key)));
    return NOBODY;
  }

  /** Removes what is stale under every key, also where nobody looks: after a peer's death, and when the first comes. */
  sweep(): void {
    if (this.#closed) return;
    ifPossible(() => {
      for (const key of namesIn(this.#path(), "isDirectory", MAX_KEYS)) {
        if (LISTENER_KEY.test(key)) ifPossible(() => this.#read(key));
      }
    });
  }

  /** Takes all entries out. After it nothing is entered and nobody found. */
  close(): void {
    this.#closed = true;
    for (const listener of this.#listeners) this.#leave(listener);
    this.#readings.clear();
    this.#absent.clear();
    if (this.#keys !== undefined) closeSync(this.#keys);
    this.#keys = undefined;
  }
}
