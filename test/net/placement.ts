/**
 * Where the two ends of a scenario live, and what must hold there when all scenarios are over.
 *
 * Owns the threads, processes and namespaces of a test file. Knows nothing of scenarios and of transports.
 */
import { readdirSync, rmSync } from "node:fs";
import * as assert from "uvu/assert";
import { shmMissing } from "../support/missing.js";
import { type Container, containersMissing, Link } from "../support/namespaces.js";
import { prngFor } from "../support/prng.js";
import type { DeviceName, Side } from "../support/transports.js";
import { makeVolume } from "../support/volume.js";
import { NOTHING_LEFT } from "./peer.js";
import { ProcessPeer } from "./process-peer.js";
import { type EndTask, runEnd } from "./run-end.js";
import type { Seen } from "./scenario.js";
import { WorkerPeer } from "./worker-peer.js";

export interface Place {
  /** What carries SMC between the ends. */
  readonly device: DeviceName;
  /** Address of the server. */
  readonly host: string;
  /** Runs an end where it lives. */
  run(task: EndTask): Promise<Seen>;
  /** Ends what lives here. Errors: rejects if anything is left behind. */
  end(): Promise<void>;
}

/** Both ends in this process, one of them in a Worker if so wanted. */
class Threads implements Place {
  readonly device = "lo";
  readonly host = "127.0.0.1";
  readonly #inWorker: Side | undefined;
  readonly #worker = new WorkerPeer();

  constructor(inWorker?: Side) {
    this.#inWorker = inWorker;
  }

  run(task: EndTask): Promise<Seen> {
    return task.side === this.#inWorker ? this.#worker.run(task) : runEnd(task);
  }

  async end(): Promise<void> {
    if (this.#inWorker === undefined) return;
    assert.equal(await this.#worker.leftovers(), NOTHING_LEFT, "left in the Worker");
    await this.#worker.close();
  }
}

/** A busy machine must not make a test of SMC a test of TCP: processes have longer to meet than they have by default. */
const PATIENT_CONTACT_MS = 1_000;

/** What lies in a runtime directory: nothing but its two parts when nobody uses it. Takes it away. */
function emptyVolume(directory: string): void {
  const left = readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
  rmSync(directory, { recursive: true });
  assert.equal(left, left.length === 0 ? [] : ["l", "s"], "left in the runtime directory");
}

/** Each end in a process of its own; they share a runtime directory and nothing else. */
class Processes implements Place {
  readonly device = "shm";
  readonly host: string;
  readonly #directory = makeVolume();
  readonly #link: Link | undefined;
  readonly #peers: Readonly<Record<Side, ProcessPeer>>;

  /** Takes: addresses of server and client, each in a container of its own; none for both in this one. */
  constructor(addresses?: readonly [string, string]) {
    this.#link = addresses && new Link(addresses, this.#directory);
    this.host = addresses?.[0] ?? "127.0.0.1";
    const [server, client] = this.#link?.containers ?? [];
    this.#peers = { server: this.#peer("server", server), client: this.#peer("client", client) };
  }

  #peer(name: Side, container: Container | undefined): ProcessPeer {
    const directory = container?.volume ?? this.#directory;
    const env = { ...process.env, SMC_RUNTIME_DIR: directory, SMC_CONTACT: String(PATIENT_CONTACT_MS) };
    return new ProcessPeer({ name, env, entry: container?.entry ?? [] });
  }

  run(task: EndTask): Promise<Seen> {
    return this.#peers[task.side].run(task);
  }

  async end(): Promise<void> {
    const { server, client } = this.#peers;
    try {
      for (const [side, peer] of Object.entries(this.#peers))
        assert.equal(await peer.leftovers(), NOTHING_LEFT, `left in the ${side}'s process`);
      const [first, last] = prngFor("who goes first").oneIn(2) ? [server, client] : [client, server];
      await first.end();
      await last.alone();
      await last.end();
    } finally {
      server.kill();
      client.kill();
      this.#link?.remove();
      emptyVolume(this.#directory);
    }
  }
}

interface Placement {
  /** Why it is not to be had here. */
  missing?(): string | undefined;
  make(): Place;
}

export type PlacementName = "one thread" | `${Side} in a Worker` | "two processes" | "two containers";
export const PLACEMENTS: Readonly<Record<PlacementName, Placement>> = {
  "one thread": { make: () => new Threads() },
  "server in a Worker": { make: () => new Threads("server") },
  "client in a Worker": { make: () => new Threads("client") },
  "two processes": { missing: shmMissing, make: () => new Processes() },
  "two containers": {
    missing: () => shmMissing() ?? containersMissing(),
    make: () => new Processes(["10.83.7.2", "10.83.7.1"]),
  },
};
