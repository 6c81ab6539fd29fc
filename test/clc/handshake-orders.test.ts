/**
 * Client machine against server machine over all orders of deliveries, deadlines and device results.
 *
 * The wire is two queues of whole messages; cutting messages out of bytes is framing.test.ts. Each side that falls back
 * sends one piece of application data: if ever a CLC message reaches an application, or data gets lost, a state shows it.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LocalOffer } from "../../src/clc/agreement.js";
import { type ClientAction, type ClientEvent, clientHandshake, reduceClient } from "../../src/clc/client.js";
import { reduceServer, type ServerAction, type ServerEvent, serverHandshake } from "../../src/clc/server.js";
import { DIAGNOSIS } from "../../src/wire/clc-diagnosis.js";
import { explore, Violation } from "../support/explore.js";
import { device, endpoint, nativeDevice, offer } from "./peers.js";

/** One item on the wire: a message in hex, application data, or the end of the stream. */
const DATA = "application data";
const END = "end of stream";

interface Side {
  /** Machine state, as its number in `machines`. */
  machine: number;
  /** What the driver was last asked for. */
  task: "" | "wait" | "register" | "attach";
  end: "" | "agreed" | "fallback" | "fail";
  filterLate: boolean;
  inbox: string[];
  /** What the application has read. */
  got: string[];
}
interface Duel {
  client: Side;
  server: Side;
}
type SideName = keyof Duel;
type AnyEvent = ClientEvent & ServerEvent;

/** Machine states hold bigints and devices, which are no plain data: they are kept here and numbered. */
class Machines {
  readonly #states: object[] = [];
  readonly #numbers = new Map<string, number>();

  number(state: object): number {
    const key = JSON.stringify(state, (_, value) => (typeof value === "bigint" ? `${value}n` : value));
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#states.push(state) - 1;
      this.#numbers.set(key, number);
    }
    return number;
  }
  state(number: number): never {
    return this.#states[number] as never;
  }
}

function model(clientOffer: LocalOffer, serverOffer: LocalOffer, { filters = true } = {}) {
  const machines = new Machines();
  const reduce = { client: reduceClient, server: reduceServer };
  const other = { client: "server", server: "client" } as const;

  function execute(duel: Duel, name: SideName, action: ClientAction | ServerAction): void {
    const side = duel[name];
    const outbox = duel[other[name]].inbox;
    if (action.type === "send") outbox.push(Buffer.from(action.bytes).toString("hex"));
    else if (action.type === "wait" || action.type === "register" || action.type === "attach") side.task = action.type;
    else {
      side.end = action.type;
      if (action.type === "fallback") side.filterLate = filters && action.filterLate;
      if (action.type === "fallback") outbox.push(DATA);
      if (action.type === "fail") outbox.push(END);
    }
  }

  function feed(duel: Duel, name: SideName, event: AnyEvent): true {
    const side = duel[name];
    side.task = "";
    const { state, actions } = reduce[name](machines.state(side.machine), event as never);
    side.machine = machines.number(state);
    for (const action of actions) execute(duel, name, action);
    return true;
  }

  function receive(duel: Duel, name: SideName): boolean {
    const side = duel[name];
    if (side.inbox.length === 0 || side.end === "fail" || (side.end === "" && side.task !== "wait")) return false;
    const item = side.inbox.shift()!;
    if (side.end === "") {
      if (item === END) return feed(duel, name, { type: "eof" });
      if (item === DATA) return feed(duel, name, { type: "foreign" });
      return feed(duel, name, { type: "message", bytes: Uint8Array.from(Buffer.from(item, "hex")) } as AnyEvent);
    }
    const late = side.filterLate && item !== DATA && item !== END;
    side.filterLate = false;
    if (!late) side.got.push(item);
    return true;
  }

  const when = (name: SideName, task: Side["task"], event: object) => (duel: Duel) =>
    duel[name].end === "" && duel[name].task === task && feed(duel, name, event as AnyEvent);
  const failed = { diagnosis: DIAGNOSIS.MEM.code };
  const side = (state: object): Side => ({
    machine: machines.number(state),
    task: "",
    end: "",
    filterLate: false,
    inbox: [],
    got: [],
  });
  const initial: Duel = {
    client: side(clientHandshake(clientOffer)),
    server: side(serverHandshake(serverOffer)),
  };
  feed(initial, "client", { type: "start" });
  feed(initial, "server", { type: "start" });
  const local = endpoint();
  return {
    initial,
    actions: {
      "client receives": (duel: Duel) => receive(duel, "client"),
      "server receives": (duel: Duel) => receive(duel, "server"),
      "client's deadline": when("client", "wait", { type: "timeout" }),
      "server's deadline": when("server", "wait", { type: "timeout" }),
      "client attaches": when("client", "attach", { type: "attached", local }),
      "client cannot attach": when("client", "attach", { type: "attachFailed", ...failed }),
      "server registers": when("server", "register", { type: "registered", local }),
      "server cannot register": when("server", "register", { type: "registerFailed", ...failed }),
      "server attaches": when("server", "attach", { type: "attached" }),
      "server cannot attach": when("server", "attach", { type: "attachFailed", ...failed }),
    },
    always({ client, server }: Duel): void {
      for (const got of [client.got, server.got])
        for (const item of got) assert.ok(item === DATA || item === END, `an application reads ${item}`);
      const ends = [client.end, server.end];
      assert.not(ends.includes("agreed") && ends.includes("fallback"), "one side on SMC, the other on TCP");
    },
    atRest({ client, server }: Duel): void {
      const ends = `${client.end} ${server.end}`;
      assert.ok(client.end !== "" && server.end !== "", `both ends are decided: ${ends}`);
      if (ends !== "fallback fallback") return;
      assert.equal(client.got, [DATA]);
      assert.equal(server.got, [DATA]);
    },
    reachable: ({ client, server }: Duel): boolean => client.end !== "" && server.end !== "",
  };
}

const devices = [device(), nativeDevice(7)];
const PAIRS: readonly (readonly [string, LocalOffer, LocalOffer, boolean])[] = [
  ["the same offer", offer(), offer(), true],
  ["two devices", offer({ devices }), offer({ devices }), true],
  ["version 1", offer({ version: 1 }), offer(), true],
  ["nothing in common", offer({ ueids: [] }), offer({ prefixes: undefined }), false],
  ["a client without devices", offer({ devices: [] }), offer(), false],
  ["a server without devices", offer(), offer({ devices: [] }), false],
];
for (const [what, clientOffer, serverOffer, canAgree] of PAIRS)
  test(`all orders, ${what}: both ends agree, fall back or fail, and no CLC byte reaches an application`, () => {
    const { rest, states } = explore(model(clientOffer, serverOffer));
    const ends = new Set(rest.map(({ client, server }) => `${client.end} ${server.end}`));
    assert.ok(states > 5);
    assert.ok(ends.has("fallback fallback"));
    assert.is(ends.has("agreed agreed"), canAgree, [...ends].join(", "));
  });

test("every action of the model takes place", () => {
  const whole = model(offer(), offer());
  assert.equal([...explore(whole).taken].sort(), Object.keys(whole.actions).sort());
});

test("without the late filter the model finds the CLC message that an application reads", () => {
  assert.throws(
    () => explore(model(offer(), offer(), { filters: false })),
    (error: unknown) => error instanceof Violation && /an application reads e2d4c3/.test(error.why),
  );
});

test.run();
