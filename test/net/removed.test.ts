/**
 * A container that is removed while another one talks to it: its processes are killed, its network and the link to it go. The
 * survivor sees what it sees over node:net, and the next connection to a container in its place works.
 *
 * Root only.
 */
import { type ChildProcess, fork, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { type Container, containersMissing, Link } from "../support/namespaces.js";
import { PATIENCE } from "../support/patience.js";
import { makeVolume } from "../support/volume.js";
import { happens, until } from "../support/watchdog.js";
import type { RemovedReport } from "./removed.child.js";

const ADDRESSES = ["10.83.9.2", "10.83.9.1"] as const;
const PORT = "4000";
const BYTES = 3_000_000;
const CHILD = fileURLToPath(new URL("../net/removed.child.mjs", import.meta.url));

const test = suite("a container that is removed");
const missing = shmMissing() ?? containersMissing();
const run = testUnless(missing, test);

/** A process in a container, and what it has told. */
class Inmate {
  readonly reports: RemovedReport[] = [];
  readonly #child: ChildProcess;

  constructor({ entry, volume }: Container, maker: string, role: "server" | "client") {
    const [command, ...args] = [...entry, process.execPath];
    const env = { ...process.env, ...PATIENCE, SMC_RUNTIME_DIR: volume };
    const argv = [maker, role, ADDRESSES[0], PORT, String(BYTES)];
    this.#child = fork(CHILD, argv, { env, execPath: command!, execArgv: args });
    this.#child.on("message", (report: RemovedReport) => this.reports.push(report));
  }

  async told<K extends RemovedReport["kind"]>(kind: K): Promise<Extract<RemovedReport, { kind: K }>> {
    await until(() => this.reports.some((report) => report.kind === kind), `"${kind}"`);
    return this.reports.find((report) => report.kind === kind) as Extract<RemovedReport, { kind: K }>;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = happens(this.#child, "exit", "the end of an inmate");
    this.#child.kill("SIGKILL");
    await gone;
  }
}

/** Its network namespace, with its end of the link, by the name that it was made with. */
function removeNetwork({ entry }: Container): void {
  const [, , , name] = entry;
  const { status, stderr } = spawnSync("ip", ["netns", "delete", name!], { encoding: "utf8" });
  assert.is(status, 0, stderr);
}

/** What the client in one container sees when that of the server is removed. */
async function removal(maker: "net" | "smcnet") {
  const volume = makeVolume();
  const link = new Link(ADDRESSES, volume);
  const [inside, outside] = link.containers;
  const server = new Inmate(inside, maker, "server");
  const inmates = [server];
  let next: Link | undefined;
  const add = (container: Container, role: "server" | "client"): Inmate => {
    const inmate = new Inmate(container, maker, role);
    inmates.push(inmate);
    return inmate;
  };
  try {
    await server.told("listening");
    const client = add(outside, "client");
    const { device } = await client.told("received");
    const killed = server.kill();
    removeNetwork(inside);
    await killed;
    const { bytes, events } = await client.told("over");
    await client.kill();
    // One in its place, at the same address, in the same directory.
    next = new Link(ADDRESSES, volume);
    const [again, caller] = next.containers;
    await add(again, "server").told("listening");
    const anew = await add(caller, "client").told("received");
    return { device, bytes, events, anew: anew.device };
  } finally {
    for (const inmate of inmates) await inmate.kill();
    link.remove();
    next?.remove();
    rmSync(volume, { recursive: true });
  }
}

run("the survivor sees every byte and then what it sees over net; who comes in its place is met", async () => {
  const { device, anew, ...seen } = await removal("smcnet");
  const { device: plain, anew: plainAnew, ...reference } = await removal("net");
  assert.equal([device, anew, plain, plainAnew], ["shm", "shm", "TCP", "TCP"]);
  assert.equal(seen, reference);
  assert.is(seen.bytes, BYTES);
});

test.run();
