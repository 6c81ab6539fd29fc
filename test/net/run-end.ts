/**
 * Runs one end of a scenario in this thread: set-up, the end itself, and a tear-down that waits for the other end.
 *
 * Owns the order of those steps. Knows nothing of where the other end lives.
 */
import type { AddressInfo } from "node:net";
import type { MessagePort } from "node:worker_threads";
import { listen } from "../support/pair.js";
import { type DeviceName, type Side, type TransportName, transport as transportNamed } from "../support/transports.js";
import { within } from "../support/watchdog.js";
import { ClientEnd, type Scenario, type Seen, ServerEnd, Sideline } from "./scenario.js";
import { SCENARIOS } from "./scenarios/index.js";

/** What it takes to run an end, sendable to a Worker; `port` is this end's part of the sideline. */
export interface EndTask {
  readonly scenario: string;
  readonly transport: TransportName;
  readonly side: Side;
  /** Address the server listens on. */
  readonly host: string;
  /** What carries SMC between the two ends. */
  readonly device: DeviceName;
  readonly port: MessagePort;
}

/** The sideline's word for the end of an end; its value tells whether all was well. */
const OVER = "this end is over";

/** The failure of an end whose other end failed first: the less interesting of the two. */
export class OtherEndFailed extends Error {
  override readonly name = "OtherEndFailed";
}

async function setUp(
  scenario: Scenario,
  task: EndTask,
  sideline: Sideline,
): Promise<[ServerEnd | ClientEnd, () => Promise<Seen>]> {
  const carriage = { transport: transportNamed(task.transport), device: task.device };
  if (task.side === "server") {
    const [server] = await listen(carriage.transport, scenario.serve, task.host);
    const end = new ServerEnd(carriage, scenario, sideline, server);
    sideline.tell("listening", server.address());
    return [end, () => scenario.server(end)];
  }
  const end = new ClientEnd(carriage, scenario, sideline, (await sideline.heard("listening")) as AddressInfo);
  return [end, () => scenario.client(end)];
}

/**
 * What this end saw, after both ends are done and every socket of this one is closed.
 *
 * Errors: rejects with what the end threw, or with OtherEndFailed.
 */
export async function runEnd(task: EndTask): Promise<Seen> {
  const scenario = SCENARIOS.get(task.scenario);
  if (scenario === undefined) throw new Error(`no scenario named ${task.scenario}`);
  const sideline = new Sideline(task.port);
  const other = sideline.heard(OVER, Number.POSITIVE_INFINITY) as Promise<boolean>;
  const otherFailed = other.then((well) => {
    if (!well) throw new OtherEndFailed(`${task.scenario}: the other end failed`);
    return new Promise<never>(() => undefined);
  });
  otherFailed.catch(() => undefined);
  let end: ServerEnd | ClientEnd | undefined;
  try {
    const [ready, run] = await Promise.race([setUp(scenario, task, sideline), otherFailed]);
    end = ready;
    const seen = await Promise.race([run(), end.failed, otherFailed]);
    sideline.tell(OVER, true);
    await within(Promise.race([other, otherFailed]), "the other end to be done");
    return seen;
  } catch (cause) {
    sideline.tell(OVER, false);
    throw cause;
  } finally {
    await end?.clear();
    task.port.close();
  }
}
