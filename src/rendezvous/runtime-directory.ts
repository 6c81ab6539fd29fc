/**
 * The runtime directory: the one place where processes that may meet find each other.
 *
 * Owns which directory that is, what it must be to be trusted, and the descriptor that everything in it is reached
 * through once it was checked: what is put in its place later is not followed, and paths stay short enough for unix
 * sockets. It knows nothing of the files in it.
 *
 *   <runtime directory>/    ours alone (0700), or a trusted group's (2770)
 *     l/                    who listens where: directory.ts
 *     s/                    sockets that take first contacts
 */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  type Stats,
  statSync,
} from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { SmcError } from "../errors.js";
import { type FileSystemType, fileSystemType } from "../host/files.js";

/** Names of the parts. */
export const LISTENERS = "l";
export const SOCKETS = "s";

const PRIVATE_MODE = 0o700;
/** The group may do all, and what is made inside belongs to the group too. */
const SHARED_MODE = 0o2770;
const GROUP = 0o070;
const OTHERS = 0o007;

/** A directory and no symbolic link; never waits for a device or a pipe in its place. */
const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** What an id reads as that means nothing in this user namespace, where the kernel does not tell. */
const OVERFLOW_ID = 65534;

/** A directory that passed the checks. Of the thread that opened it. */
export interface RuntimeDirectory {
  /** For people, and for looks whose answer need not be trusted. */
  readonly path: string;
  /** Whether a trusted group writes here too: what is made must be the group's as well. */
  readonly shared: boolean;
  /** Path of `name` in exactly this directory. Errors: SmcError EINVAL after `close`. */
  at(name: string): string;
  /** Opens the directory `name` in it: no symbolic link. Errors: Node's. The descriptor is the caller's. */
  open(name: string): number;
  /** Makes the directory `name` in it with the right mode from its first moment, unless it is there. Errors: Node's. */
  make(name: string): void;
  close(): void;
}

export interface RuntimeDirectoryOptions {
  /** The operator's choice, absolute; empty for none. */
  readonly path?: string;
  /** Groups that the operator trusts. They count for the operator's path alone; the first is given what is made. */
  readonly gids?: readonly number[];
}

interface Trust {
  readonly uid: number;
  readonly gids: readonly number[];
}

/** What is wrong with a directory, in words that follow its path. Never leaves this file. */
class Refusal extends Error {}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? (error as Error).message;

/** The id that stands for every id unknown in this user namespace. */
export function overflowId(kind: "uid" | "gid"): number {
  try {
    return Number(readFileSync(`/proc/sys/kernel/overflow${kind}`, "utf8"));
  } catch {
    return OVERFLOW_ID;
  }
}

/** Absolute and the user's own, else XDG_RUNTIME_DIR does not count: `su` and `sudo` leave that of another user behind. */
function isUsersOwn(path: string, uid: number): boolean {
  try {
    return isAbsolute(path) && statSync(path).uid === uid;
  } catch {
    return false;
  }
}

/**
 * Which directory it is: `given`, else `smcnet` in `xdg` (the value of XDG_RUNTIME_DIR), else one in /tmp named after the
 * user. /tmp itself and not TMPDIR, which differs between the processes of one user.
 */
export function runtimePath(given: string, xdg: string, uid: number): string {
  if (given !== "") return resolve(given);
  return isUsersOwn(xdg, uid) ? join(xdg, "smcnet") : `/tmp/smcnet-${uid}`;
}

/** The group that shares a directory, undefined where it is ours alone. Errors: Refusal when it is neither. */
function sharingGroup({ uid, gid, mode }: Stats, trust: Trust): number | undefined {
  const shown = `mode 0${(mode & 0o7777).toString(8)}`;
  if ((mode & OTHERS) !== 0) throw new Refusal(`has ${shown}, which lets everybody in`);
  if ((mode & GROUP) !== 0 && trust.gids.includes(gid)) {
    if ((mode & SHARED_MODE) === SHARED_MODE) return gid;
    throw new Refusal(`has ${shown}; a directory that gid ${gid} shares needs 0${SHARED_MODE.toString(8)}`);
  }
  if (uid !== trust.uid) throw new Refusal(`belongs to uid ${uid}, not to this process's uid ${trust.uid}`);
  if ((mode & GROUP) !== 0) throw new Refusal(`has ${shown}, which lets gid ${gid} in`);
  return undefined;
}

function checkFileSystem(type: FileSystemType): void {
  if (type === "network") throw new Refusal("lies on a network file system, where locks do not tell who is alive");
  if (type === "overlay") throw new Refusal("lies on an overlay, a container's own copy: mount a volume to be shared");
}

/** The path of what a descriptor is open on. Errors: Refusal where /proc is not that of this process. */
function pathOf(descriptor: number): string {
  const path = `/proc/self/fd/${descriptor}`;
  if (statSync(path, { throwIfNoEntry: false })?.ino !== fstatSync(descriptor).ino)
    throw new Refusal("cannot be reached by its descriptor: /proc is missing or another namespace's");
  return path;
}

/**
 * Makes a directory of the group `gid`: under another name until its mode is right, so that nobody of the group finds it
 * closed. One that lies there already is left, or replaced if it is empty, which who was about to use it survives.
 */
function makeShared(path: string, gid: number): void {
  const draft = join(dirname(path), `.${randomUUID()}`);
  mkdirSync(draft, PRIVATE_MODE);
  try {
    const descriptor = openSync(draft, OPEN_DIRECTORY);
    try {
      fchownSync(descriptor, -1, gid);
      fchmodSync(descriptor, SHARED_MODE);
    } finally {
      closeSync(descriptor);
    }
    renameSync(draft, path);
  } catch (error) {
    rmdirSync(draft);
    throw error;
  }
}

/** Makes a directory, for the group `gid` if there is one, unless it is there. */
function makeDirectory(path: string, gid: number | undefined): void {
  try {
    if (gid === undefined) mkdirSync(path, PRIVATE_MODE);
    else makeShared(path, gid);
  } catch (error) {
    if (!["EEXIST", "ENOTEMPTY"].includes(codeOf(error))) throw error;
  }
}

/** Why `path` could not be opened as a directory. */
function whyNot(path: string, error: unknown): Refusal {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isSymbolicLink()) return new Refusal("is a symbolic link");
  if (stat !== undefined && !stat.isDirectory()) return new Refusal("is no directory");
  return new Refusal(`cannot be opened: ${codeOf(error)}`);
}

/** A descriptor of the directory at `path`, made for `gid` if it is missing. Errors: Refusal. */
function openOrMake(path: string, gid: number | undefined): number {
  try {
    return openSync(path, OPEN_DIRECTORY);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw whyNot(path, error);
  }
  try {
    makeDirectory(path, gid);
  } catch (error) {
    throw new Refusal(`cannot be made: ${codeOf(error)}`);
  }
  try {
    return openSync(path, OPEN_DIRECTORY);
  } catch (error) {
    throw whyNot(path, error);
  }
}

/** Opens the part `name` only to check it: what gets in later gets past its owner. Errors: Refusal. */
function checkPart(path: string, trust: Trust, sharedBy: number | undefined): void {
  const descriptor = openOrMake(path, sharedBy);
  try {
    if (sharingGroup(fstatSync(descriptor), trust) !== sharedBy)
      throw new Refusal("is not shared as the directory it lies in");
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Opens the runtime directory and checks its parts; makes what is missing, one level.
 *
 * Takes:   typeOf, what tells the kind of a file system.
 * Returns: the directory; or why there is none: the path, and what is wrong with it.
 */
export function openRuntimeDirectory(
  options: RuntimeDirectoryOptions = {},
  typeOf: (path: string) => FileSystemType = fileSystemType,
): RuntimeDirectory | { readonly reason: string } {
  const uid = process.geteuid?.();
  if (process.platform !== "linux" || uid === undefined) return { reason: `no shared memory on ${process.platform}` };
  if (uid === overflowId("uid"))
    return { reason: `uid ${uid} stands for every unknown user: nobody could be told apart` };
  const given = options.path ?? "";
  const unknown = overflowId("gid");
  const gids = given === "" ? [] : (options.gids ?? []).filter((gid) => gid !== unknown);
  const path = runtimePath(given, process.env["XDG_RUNTIME_DIR"] ?? "", uid);
  let at = path;
  let descriptor = -1;
  try {
    descriptor = openOrMake(path, gids[0]);
    const sharedBy = sharingGroup(fstatSync(descriptor), { uid, gids });
    const fixed = pathOf(descriptor);
    checkFileSystem(typeOf(fixed));
    for (const part of [LISTENERS, SOCKETS]) {
      at = join(path, part);
      checkPart(`${fixed}/${part}`, { uid, gids: sharedBy === undefined ? [] : [sharedBy] }, sharedBy);
    }
    return new OpenDirectory(path, sharedBy, descriptor);
  } catch (error) {
    if (descriptor >= 0) closeSync(descriptor);
    return { reason: `${at} ${error instanceof Refusal ? error.message : `cannot be used: ${codeOf(error)}`}` };
  }
}

class OpenDirectory implements RuntimeDirectory {
  readonly path: string;
  readonly #sharedBy: number | undefined;
  #descriptor: number;

  constructor(path: string, sharedBy: number | undefined, descriptor: number) {
    this.path = path;
    this.#sharedBy = sharedBy;
    this.#descriptor = descriptor;
  }

  get shared(): boolean {
    return this.#sharedBy !== undefined;
  }

  at(name: string): string {
    if (this.#descriptor < 0) throw new SmcError("EINVAL", `${this.path} is closed`, { name });
    return `/proc/self/fd/${this.#descriptor}/${name}`;
  }

  open(name: string): number {
    return openSync(this.at(name), OPEN_DIRECTORY);
  }

  make(name: string): void {
    makeDirectory(this.at(name), this.#sharedBy);
  }

  close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor);
    this.#descriptor = -1;
  }
}
