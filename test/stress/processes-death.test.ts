/**
 * Processes that die: killed, replaced by another program, or gone by themselves; the survivor sees what TCP would show.
 *
 * Each way to die is played over node:net first, and what the survivor saw there is what it has to see over SMC: how many bytes,
 * which events, which error. Then processes are killed at random moments; allowed outcomes for the survivor are
 *   ended          every byte that was out of the dead's hands, then the end of the stream
 *   reset          a part of them, then ECONNRESET; only if the survivor had written something itself
 *   write failed   the end, and EPIPE or ECONNRESET for what it wrote too late
 * Anything else fails: a wrong or missing byte, a hang, a survivor that holds more than before the first death.
 * How soon a death is seen is printed beside the same over node:net, and not asserted.
 *
 * SMC_TEST_KILLS sets how many processes are killed at random moments; 12 by default.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { shmMissing, testUnless } from "../support/missing.js";
import { type Prng, prngFor } from "../support/prng.js";
import type { TransportName } from "../support/transports.js";
import { OUTCOMES } from "./outcomes.js";
import { boardOf, Home, spread } from "./processes.js";
import type { Outcome } from "./processes-ends.js";
import {
  hears,
  heeds,
  leavesNothing,
  meet,
  outcome,
  type Role,
  type Scene,
  type Step,
  type Survivor,
  says,
  survivor,
  tells,
  together,
} from "./processes-scene.js";

const KILLS = Number(process.env["SMC_TEST_KILLS"] ?? 12);

/** What happens in order, the end of the victim last; then what the survivor saw. */
const dies =
  (...steps: readonly Step[]) =>
  async (scene: Scene): Promise<Outcome> => {
    for (const step of steps) await step(scene);
    return outcome(scene);
  };
const killed: Step = ({ victim }) => victim.kill();
const exits: Step = ({ victim }) => victim.last("die", "exit");

const DEATHS: Readonly<Record<string, (scene: Scene) => Promise<Outcome>>> = {
  "killed, idle": dies(killed),
  "killed, all is read on both sides": dies(
    together(says(300_000), hears(300_000)),
    together(tells(300_000), heeds(300_000)),
    killed,
  ),
  "killed, the survivor has not read yet": dies(says(50_000), killed),
  "killed, the dead had not read yet": dies(tells(1_000), killed),
  // As long as one read of libuv: after a shorter one it takes a connection that hung up for ended, and asks for no error.
  "killed, nobody has read yet": dies(says(65_536), tells(50_000), killed),
  "killed after its end of writing": dies(says(500), ({ victim, name }) => victim.ask("end", name), hears(500), killed),
  "killed after ours": dies(
    tells(500),
    ({ survivor, name }) => survivor.ask("end", name),
    heeds(500),
    says(500),
    killed,
  ),
  "process.exit(), the survivor has not read yet": dies(says(50_000), exits),
  "process.exit(), the dead had not read yet": dies(tells(1_000), exits),
  "end(data) and process.exit() in one turn": dies(says(1_000), ({ victim, name, theirs }) =>
    victim.last("endAndExit", name, theirs, 60_000),
  ),
  "an exception that nobody caught": dies(says(50_000), ({ victim }) => victim.last("die", "throw")),
  async "exec of another program"(scene) {
    const exec: Step = ({ victim }) => victim.ask("die", "exec").catch(() => undefined);
    const seen = await dies(says(50_000), exec)(scene);
    // The process is alive: what the survivor saw came from the exec.
    scene.victim.signal("SIGKILL");
    assert.is(await scene.victim.exited, "SIGKILL");
    return seen;
  },
};

const stress = suite("stress: processes that die");
const noShm = shmMissing();
const test = testUnless(noShm, stress);
const home = new Home();
let living: Survivor;
if (noShm === undefined) {
  stress.before(async () => {
    living = await survivor(home, "net", "smcd", "smcd-copy");
  });
}
stress.after(() => home.remove());

const reference = new Map<string, Outcome>();
for (const [carrier, role] of [
  ["net", "client"],
  ["smcd", "client"],
  ["smcd", "server"],
  ["smcd-copy", "client"],
] as const) {
  test(`every way to die · ${carrier} · the ${role} dies`, async () => {
    for (const [death, play] of Object.entries(DEATHS)) {
      const seen = await play(await meet(living, await home.next(), carrier, role));
      if (carrier === "net") reference.set(death, seen);
      else assert.equal({ death, ...seen }, { death, ...reference.get(death) });
    }
  });
}

/**
 * One process killed while both do as the seed has it.
 *
 * Returns: from the kill to the first that the survivor saw of it, behind all that it had to read before, milliseconds.
 */
async function killOne(carrier: TransportName, random: Prng): Promise<number> {
  const role: Role = random.pick(["client", "server"]);
  const scene = await meet(living, await home.party(), carrier, role);
  const { victim, name, ours, theirs } = scene;
  const board = home.file("board");
  const length = random.pick([0, 100, 4_096, 65_536, 300_000]);
  const speaks = random.oneIn(2);
  const listens = random.oneIn(2);
  if (listens) await victim.ask("hearAll", name, ours);
  if (speaks) await living.party.ask("pour", name, ours, random.pick([100, 4_096, 65_536]));
  if (random.oneIn(2)) await living.party.ask("hearAll", name, theirs);
  if (length > 0) await victim.ask("pour", name, theirs, length, board);
  const seen = await living.party.ask("strike", name, theirs, victim.pid, random.between(0, 10_000));
  assert.is(await victim.exited, "SIGKILL");

  const how = OUTCOMES[seen.events];
  const said = `${carrier} ${role} ${length} speaks ${speaks} listens ${listens}: ${JSON.stringify(seen)}`;
  assert.ok(how, `no allowed outcome: ${said}`);
  if (how === "reset" || how === "write failed") {
    assert.ok(speaks, `nothing of ours was unread: ${said}`);
    assert.ok(["ECONNRESET", "EPIPE"].includes(seen.code), said);
  } else if (length > 0 && !(carrier === "net" && speaks)) {
    // What TCP lost by a reset, libuv may call the end. In copy mode what lies in the private send ring dies with its process.
    const kept = carrier === "smcd-copy" ? 131_072 : 0;
    const published = boardOf(board);
    assert.ok(seen.received >= published - kept, `${published} bytes were published: ${said}`);
  }
  return seen.ms;
}

for (const carrier of ["net", "smcd", "smcd-copy"] as const) {
  const kills = carrier === "smcd-copy" ? Math.ceil(KILLS / 4) : KILLS;
  test(`killed at random moments: ${kills} · ${carrier}`, async () => {
    const random = prngFor("processes killed at random moments");
    const noticed: number[] = [];
    for (let kill = 0; kill < kills; kill++) noticed.push(await killOne(carrier, random));
    process.stdout.write(`\n   ${carrier}: a death is seen after ${spread(noticed)}\n`);
  });
}

test("nothing of the dead is left", () => leavesNothing(home, living));

stress.run();
