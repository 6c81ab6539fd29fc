/**
 * Containers as the kernel makes them: processes in network, mount and pid namespaces of their own that share one directory.
 *
 * Owns the namespaces and links, which go when they are removed and at the latest when this process exits. Needs root and iproute2.
 * Knows nothing of what runs inside.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs a command to its end, with `input` on its stdin. Errors: throws what it complained of. */
function feed(input: string, command: string, ...args: string[]): void {
  const { status, error, stderr } = spawnSync(command, args, { encoding: "utf8", input });
  if (status !== 0) throw new Error(`${[command, ...args].join(" ")}: ${error?.message ?? stderr.trim()}`);
}

const run = (command: string, ...args: string[]): void => feed("", command, ...args);

/**
 * What a process of a container runs before its program. Arguments: the shared directory; an empty directory; a name.
 *
 * /dev/shm becomes the container's own, and in it `name` is the shared directory: its path differs from container to container.
 */
const ENTER = `ip link set lo up && mount -t tmpfs tmpfs "$2" && mkdir "$2/$3" && mount --bind "$1" "$2/$3" &&
mount --move "$2" /dev/shm && shift 3 && exec "$@"`;

/** One network namespace with one address. */
export interface Container {
  readonly address: string;
  /** Path of the shared directory inside. */
  readonly volume: string;
  /** Command line before that of a program which is to run inside, as the first process of its pid namespace. */
  readonly entry: readonly string[];
}

let made = 0;

/** Two containers, joined by a link of their own that leads nowhere else. */
export class Link {
  readonly containers: readonly [Container, Container];
  readonly #names: readonly string[];
  /** Both mount on it, each for itself. */
  readonly #mountPoint = mkdtempSync(join(tmpdir(), "smcnet-test-"));
  readonly #remove = () => this.remove();

  /** Takes: addresses of the two, of one /24; shared, the directory that both see. */
  constructor(addresses: readonly [string, string], shared: string) {
    const id = `smc${process.pid}x${made++}`;
    const names = [`${id}a`, `${id}b`] as const;
    this.#names = names;
    process.once("exit", this.#remove);
    try {
      for (const name of names) run("ip", "netns", "add", name);
      run(
        "ip",
        "link",
        "add",
        names[0],
        "netns",
        names[0],
        "type",
        "veth",
        "peer",
        "name",
        names[1],
        "netns",
        names[1],
      );
      names.forEach((name, i) => {
        run("ip", "-n", name, "address", "add", `${addresses[i]}/24`, "dev", name);
        run("ip", "-n", name, "link", "set", name, "up");
      });
    } catch (cause) {
      this.remove();
      throw cause;
    }
    const container = (i: 0 | 1): Container => ({
      address: addresses[i],
      volume: `/dev/shm/${names[i]}`,
      entry: [
        ...["ip", "netns", "exec", names[i]],
        ...["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child"],
        ...["sh", "-c", ENTER, "sh", shared, this.#mountPoint, names[i]],
      ],
    });
    this.containers = [container(0), container(1)];
  }

  /** Gives container `i` one more address. */
  addAddress(i: 0 | 1, address: string): void {
    run("ip", "-n", this.#names[i]!, "address", "add", `${address}/24`, "dev", this.#names[i]!);
  }

  /** Has container `i` translate addresses: rules of a chain of nft, of type nat at `hook`. */
  translate(i: 0 | 1, hook: "prerouting" | "postrouting", rules: string): void {
    const table = `table ip smcnet { chain translation { type nat hook ${hook} priority 0; ${rules}; }; }`;
    feed(table, "ip", "netns", "exec", this.#names[i]!, "nft", "-f", "-");
  }

  /** Processes inside have to have ended. What was never made is no error. Once. */
  remove(): void {
    process.off("exit", this.#remove);
    for (const name of this.#names) spawnSync("ip", ["netns", "delete", name]);
    rmdirSync(this.#mountPoint);
  }
}

/** Why a command cannot be run in a network namespace of its own; undefined where it can. Tried out. */
function insideMissing(...command: string[]): string | undefined {
  if (process.platform !== "linux") return `no namespaces on ${process.platform}`;
  if (process.geteuid?.() !== 0) return "only root may make network namespaces";
  const name = `smc${process.pid}t`;
  try {
    run("ip", "netns", "add", name);
    run("ip", "netns", "exec", name, ...command);
    return undefined;
  } catch (cause) {
    return (cause as Error).message;
  } finally {
    spawnSync("ip", ["netns", "delete", name]);
  }
}

/** Why no containers can be made here; undefined where they can. */
export function containersMissing(): string | undefined {
  return insideMissing("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "true");
}

/** Why addresses cannot be translated here; undefined where they can. */
export function translationMissing(): string | undefined {
  return insideMissing("nft", "list", "ruleset");
}
