/**
 * One connection between a party that survives and one that dies: how the two meet and speak.
 *
 * Owns the names of ends and streams. Knows nothing of deaths.
 */
import * as assert from "uvu/assert";
import type { TransportName } from "../support/transports.js";
import type { Home, Party } from "./processes.js";
import type { Census } from "./processes-census.js";
import type { Carried } from "./processes-connections.js";
import type { Outcome } from "./processes-ends.js";

export type Role = "client" | "server";

/** A party that outlives all others, and where it listens over each transport. */
export interface Survivor {
  readonly party: Party;
  readonly ports: Readonly<Partial<Record<TransportName, number>>>;
  /** What it holds before anybody came. */
  readonly before: Census;
}

export async function survivor(home: Home, ...carriers: TransportName[]): Promise<Survivor> {
  const party = await home.party();
  const ports: Partial<Record<TransportName, number>> = {};
  for (const carrier of carriers) {
    const port = await party.ask("listen", carrier);
    ports[carrier] = port;
    // To itself, once: what is opened at the first connect and stays open is not what the test looks for.
    await Promise.all([party.ask("dial", "own", carrier, port), party.ask("accept", "own too")]);
    await Promise.all([party.ask("destroy", "own"), party.ask("destroy", "own too")]);
  }
  await party.ask("settled", { connections: 0 });
  return { party, ports, before: await party.ask("census") };
}

/** It holds what it held before, and no bell came too late. What the dead left in the runtime directory it clears away. */
export async function leavesNothing(home: Home, { party, before }: Survivor): Promise<void> {
  const { descriptors, memfds, freeBlocks, pairs, connections } = before;
  const now = await party.ask("settled", { descriptors, memfds, freeBlocks, pairs, connections });
  assert.is(now.rescued, 0, "doorbells rescued");
  assert.is(now.devShm, 0, "files of /dev/shm in use");
  await home.closed();
  await home.holdsOnly(party);
  await party.leave();
  assert.equal(home.entries(), []);
}

export interface Scene {
  readonly survivor: Party;
  readonly victim: Party;
  readonly name: string;
  /** Labels of the streams: the survivor's, the victim's. */
  readonly ours: string;
  readonly theirs: string;
}

/** Why a socket is not carried as it should be is the most useful thing to know. */
function checkCarried(carrier: TransportName, told: Carried): void {
  const wanted = carrier === "net" ? { mode: "net", device: "", why: "" } : { mode: "SMCD", device: "shm", why: "" };
  assert.equal(told, wanted);
}

let serial = 0;

/** Connects the two; `role` is the victim's. Both ends are paused. */
export async function meet(survivor: Survivor, victim: Party, carrier: TransportName, role: Role): Promise<Scene> {
  const name = `scene ${serial++}`;
  const [server, client] = role === "client" ? [survivor.party, victim] : [victim, survivor.party];
  const port = role === "client" ? survivor.ports[carrier]! : await victim.ask("listen", carrier);
  const both = [client.ask("dial", name, carrier, port), server.ask("accept", name)];
  for (const told of await Promise.all(both)) checkCarried(carrier, told);
  return { survivor: survivor.party, victim, name, ours: `${name} ours`, theirs: `${name} theirs` };
}

/** Something that one of the two does; resolves when it has. */
export type Step = (scene: Scene) => Promise<unknown>;

/** The victim says so many bytes, the survivor tells; the survivor hears, the victim heeds. */
export const says =
  (bytes: number): Step =>
  ({ victim, name, theirs }) =>
    victim.ask("say", name, theirs, bytes);
export const tells =
  (bytes: number): Step =>
  ({ survivor, name, ours }) =>
    survivor.ask("say", name, ours, bytes);
export const hears =
  (bytes: number): Step =>
  ({ survivor, name, theirs }) =>
    survivor.ask("hear", name, theirs, bytes);
export const heeds =
  (bytes: number): Step =>
  ({ victim, name, ours }) =>
    victim.ask("hear", name, ours, bytes);

/** Both at the same time. */
export const together =
  (one: Step, other: Step): Step =>
  (scene) =>
    Promise.all([one(scene), other(scene)]);

/** The survivor reads to the end. */
export const outcome = ({ survivor, name, theirs }: Scene): Promise<Outcome> => survivor.ask("outcome", name, theirs);
