/**
 * Rendezvous with stacks of other processes: the same words on desks of their own, beside those of this process.
 *
 * The other process is played by stacks that do not enter themselves in the arena's registry; each side has a desk for the other.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CONTROL_RENDEZVOUS, EXTENT_BOX } from "../../assembly/shared/codes.js";
import { BOX_BLOCKS, BOX_DESK } from "../../assembly/shared/layout.js";
import { keyView } from "../../src/engine/memory.js";
import type { Claimants } from "../../src/rendezvous/acceptor.js";
import { type Endpoint, writeTuple } from "../../src/rendezvous/address.js";
import type { Neighbour, Neighbourhood, Wildcard } from "../../src/rendezvous/host.js";
import { Extent } from "../assembly/extents.js";
import { Rig } from "../assembly/rig.js";
import { at, LONG_MS, Party, SERVICE, spy, turn, waits } from "./parties.js";

/** Who is met, told by the test; and what was asked. */
class Street implements Neighbourhood {
  readonly met: Neighbour[] = [];
  readonly serving: Neighbour[] = [];
  readonly listening: [Endpoint, Wildcard][] = [];
  readonly approached: Endpoint[] = [];
  reason: string | undefined;

  listen(server: Endpoint, wildcard: Wildcard): () => void {
    this.listening.push([server, wildcard]);
    return () => void this.listening.pop();
  }

  knows(): boolean {
    return this.serving.length > 0;
  }

  listeners(): readonly Neighbour[] {
    return this.serving;
  }

  approach(server: Endpoint): (() => void) | undefined {
    this.approached.push(server);
    return undefined;
  }

  unmet(): string | undefined {
    return this.reason;
  }

  clients(): Iterable<Neighbour> {
    return this.met;
  }
}

interface Citizen {
  readonly street: Street;
  readonly party: Party;
  /** Control bits with which the other one nudged it. */
  readonly nudges: number[];
  /** What stands on desks of its pair with the other one now. */
  standing: number;
}

/** A client here, a server in another process, and one here. */
function scene() {
  const rig = new Rig();
  const citizen = (thread: number): Citizen => {
    const street = new Street();
    return { street, party: new Party(rig, thread, street), nudges: [], standing: 0 };
  };
  const [client, server] = [citizen(1), citizen(2)];
  const desk = (): number => new Extent(rig, EXTENT_BOX, BOX_BLOCKS).base + BOX_DESK;
  const [clientDesk, serverDesk] = [desk(), desk()];
  /** `other` as `self` knows it. */
  const neighbour = (self: Citizen, { party, nudges }: Citizen, theirs: number, ours: number): Neighbour => ({
    slot: party.stack,
    desk: theirs,
    pair: {
      desk: ours,
      stand: (change) => {
        self.standing += change;
      },
      acknowledge: () => undefined,
      fail: () => undefined,
    },
    gone: false,
    nudge: (bits) => nudges.push(bits),
  });
  server.street.met.push(neighbour(server, client, clientDesk, serverDesk));
  const asServer = neighbour(client, server, serverDesk, clientDesk);
  client.street.met.push(asServer);
  client.street.serving.push(asServer);
  return { rig, client, server, here: new Party(rig, 3) };
}

const test = suite("rendezvous with other processes");

test("a listener there alone: intent and claim stand where it looks, it is nudged, and the match is told back", async () => {
  const { client, server } = scene();
  const intent = client.party.rendezvous.intend(SERVICE)!;
  const done = spy<boolean>();
  waits(server.party.rendezvous.accept(at(4000), SERVICE, LONG_MS, done));
  assert.equal([client.standing, server.standing], [1, 1], "the pair is held by the intent and by who waits for it");
  const matched = spy<void>();
  client.party.rendezvous.claim(at(4000), SERVICE, intent, matched);
  intent.close();
  assert.is(client.standing, 1, "now by the claim");
  assert.equal(server.nudges, [CONTROL_RENDEZVOUS]);
  server.party.rendezvous.look();
  assert.equal(client.nudges, [CONTROL_RENDEZVOUS]);
  client.party.rendezvous.look();
  await turn();
  assert.equal([done.calls, matched.calls.length], [[true], 1]);
  assert.equal([client.party.nudged, server.party.nudged], [[], []], "nobody of its own process");
  assert.equal([client.party.held, server.party.held], [0, 0]);
  assert.equal([client.standing, server.standing], [0, 0]);
});

test("an intent there that closes without a claim ends the wait as plain", async () => {
  const { client, server } = scene();
  const intent = client.party.rendezvous.intend(SERVICE)!;
  const done = spy<boolean>();
  waits(server.party.rendezvous.accept(at(4000), SERVICE, LONG_MS, done));
  intent.close();
  server.party.rendezvous.look();
  await turn();
  assert.equal(done.calls, [false]);
  assert.equal([client.standing, server.standing], [0, 0]);
  assert.is(server.party.rendezvous.accept(at(4000), SERVICE, LONG_MS, done), false, "and there is none any more");
});

test("a false claim is not in the way of the true one, and who has claimed is told", async () => {
  const { rig, client, server, here } = scene();
  const liar = { desk: 0, stand: () => undefined, acknowledge: () => undefined, fail: () => undefined };
  const desk = new Extent(rig, EXTENT_BOX, BOX_BLOCKS).base + BOX_DESK;
  server.street.met.unshift({ slot: 9, desk, pair: liar, gone: false, nudge: () => undefined });
  const intent = client.party.rendezvous.intend(SERVICE)!;
  const matched = spy<void>();
  client.party.rendezvous.claim(at(4000), SERVICE, intent, matched);
  writeTuple(at(4000), SERVICE, keyView(rig.memory, here.stack));
  assert.ok(rig.abi.claimMake(here.stack, desk) >= 0);
  intent.close();
  const claimants: Claimants = new Set();
  assert.is(server.party.rendezvous.accept(at(4000), SERVICE, 0, spy(), claimants), true);
  client.party.rendezvous.look();
  await turn();
  assert.is(matched.calls.length, 1, "the true one is matched");
  assert.equal([...claimants], [liar, server.street.met[1]!.pair]);
});

for (const [whose, other] of [
  ["here", "there"],
  ["there", "here"],
] as const) {
  test(`listeners here and there: the one ${whose} matches, the claim is taken back from the one ${other}`, async () => {
    const { client, server, here } = scene();
    here.rendezvous.listen(SERVICE, "none");
    const acceptors = { here: here.rendezvous, there: server.party.rendezvous };
    const intent = client.party.rendezvous.intend(SERVICE)!;
    assert.is(intent.desks.length, 2);
    const matched = spy<void>();
    const claim = client.party.rendezvous.claim(at(4000), SERVICE, intent, matched)!;
    intent.close();
    assert.equal([client.party.nudged, server.nudges], [[here.stack], [CONTROL_RENDEZVOUS]], "both hear of it");
    assert.is(acceptors[whose].accept(at(4000), SERVICE, 0, spy()), true);
    client.party.rendezvous.look();
    assert.is(acceptors[other].accept(at(4000), SERVICE, 0, spy()), false);
    assert.not(claim.withdraw());
    client.party.rendezvous.look();
    await turn();
    assert.is(matched.calls.length, 1);
    assert.equal([client.party.held, client.standing, server.standing], [0, 0, 0]);
  });
}

test("a wait that is cancelled, and a claim that is withdrawn, hold the pair no longer", () => {
  const { client, server } = scene();
  const intent = client.party.rendezvous.intend(SERVICE)!;
  const wait = waits(server.party.rendezvous.accept(at(4000), SERVICE, LONG_MS, spy()));
  const claim = client.party.rendezvous.claim(at(4001), SERVICE, intent, spy<void>())!;
  assert.equal([client.standing, server.standing], [2, 1]);
  wait.cancel();
  wait.cancel();
  assert.is(server.standing, 0);
  assert.ok(claim.withdraw());
  assert.not(claim.withdraw());
  intent.close();
  intent.close();
  assert.is(client.standing, 0);
});

test("an acceptor there with the number of one here: their intents are counted apart", () => {
  const { rig, client, here } = scene();
  const [there] = client.street.serving.splice(0);
  const twin: Neighbour = { ...there!, slot: here.stack, nudge: there!.nudge };
  here.rendezvous.listen(SERVICE, "none");
  const ours = rig.abi.stackDesk(client.party.stack);
  const open = (desk: number, sequence: number) => rig.abi.intentOpen(desk, here.stack, sequence) !== 0;
  const first = client.party.rendezvous.intend(SERVICE)!;
  const oldest = rig.abi.intentBegun(ours, here.stack);
  client.street.serving.push(twin);
  const both = client.party.rendezvous.intend(SERVICE)!;
  const sequence = rig.abi.intentBegun(twin.pair.desk, here.stack);
  assert.ok(open(twin.pair.desk, sequence));
  both.close();
  assert.not(open(twin.pair.desk, sequence));
  client.party.rendezvous.intend(SERVICE)!.close();
  assert.ok(open(ours, oldest), "the first one is still on its way");
  first.close();
  assert.not(open(ours, oldest));
});

test("a claim on two desks is withdrawn from both; once one has matched it stays matched", async () => {
  const { client, server, here } = scene();
  here.rendezvous.listen(SERVICE, "none");
  const intent = client.party.rendezvous.intend(SERVICE)!;
  const first = client.party.rendezvous.claim(at(4000), SERVICE, intent, spy<void>())!;
  assert.ok(first.withdraw());
  for (const { rendezvous } of [here, server.party]) assert.is(rendezvous.accept(at(4000), SERVICE, 0, spy()), false);
  const matched = spy<void>();
  const second = client.party.rendezvous.claim(at(4001), SERVICE, intent, matched)!;
  assert.is(server.party.rendezvous.accept(at(4001), SERVICE, 0, spy()), true);
  assert.not(second.withdraw());
  assert.is(here.rendezvous.accept(at(4001), SERVICE, 0, spy()), false, "taken back where it could be");
  client.party.rendezvous.look();
  await turn();
  assert.is(matched.calls.length, 1);
  intent.close();
  assert.equal([client.party.held, client.standing], [0, 0]);
});

test("claims there make room for others as those here do", async () => {
  const { client, server, here } = scene();
  here.rendezvous.listen(SERVICE, "none");
  const intent = client.party.rendezvous.intend(SERVICE)!;
  for (let port = 1; port <= 5000; port++) {
    client.party.rendezvous.claim(at(port), SERVICE, intent, spy<void>());
    const acceptor = port % 2 === 0 ? here : server.party;
    assert.is(acceptor.rendezvous.accept(at(port), SERVICE, 0, spy<boolean>()), true, `port ${port}`);
    client.party.rendezvous.look();
  }
  await turn();
});

test("a listener is entered for other processes too, and leaves both registries", () => {
  const { server, here } = scene();
  const leave = server.party.rendezvous.listen(SERVICE, "dual");
  assert.equal(server.street.listening, [[SERVICE, "dual"]]);
  assert.ok(here.rendezvous.intend(SERVICE));
  leave();
  assert.equal(server.street.listening, []);
  assert.is(here.rendezvous.intend(SERVICE), undefined);
});

test("who listens in this process or in another is known, whoever listens elsewhere is not", () => {
  const { client, server, here } = scene();
  const elsewhere = { ...SERVICE, port: SERVICE.port + 1 };
  const known = (): boolean[] => [
    here.rendezvous.knows(SERVICE),
    here.rendezvous.knows(elsewhere),
    client.party.rendezvous.knows(elsewhere),
  ];
  assert.equal(known(), [false, false, client.street.serving.length > 0]);
  const leave = server.party.rendezvous.listen(SERVICE, "none");
  assert.equal(known().slice(0, 2), [true, false]);
  leave();
  assert.equal(known().slice(0, 2), [false, false]);
  client.street.serving.length = 0;
  assert.not(client.party.rendezvous.knows(elsewhere), "nobody of another process");
});

test("strangers are approached by way of the neighbourhood; without one there is nobody to meet", () => {
  const { client, here } = scene();
  assert.is(client.party.rendezvous.approach(SERVICE, spy<void>()), undefined);
  assert.equal(client.street.approached, [SERVICE]);
  assert.is(here.rendezvous.approach(SERVICE, spy<void>()), undefined);
});

test("why strangers could not be met is the neighbourhood's to say", () => {
  const { client, here } = scene();
  client.street.reason = "another layout";
  assert.is(client.party.rendezvous.unmet(SERVICE), "another layout");
  assert.is(here.rendezvous.unmet(SERVICE), undefined);
});

test.run();
