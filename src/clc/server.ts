/**
 * The server's side of the CLC handshake as a pure machine: Proposal in, Accept out, Confirm in.
 *
 * Owns the server's decisions. No socket, no timer, no device: see handshake.ts for the driver's part.
 * Source: smc-protocol §2.6 - §2.10.
 *
 *   idle           start -> awaitProposal
 *   awaitProposal  Proposal -> registering; Decline, foreign bytes -> done (fallback); timeout -> done (fail)
 *   registering    registered -> awaitConfirm; registerFailed -> registering the next; none left -> done (fallback)
 *   awaitConfirm   Confirm -> attaching; Decline -> done (fallback); timeout, foreign bytes -> done (fail)
 *   attaching      attached -> done (agreed); attachFailed -> done (fail)
 *
 * After an Accept the client may already be live, so from there on every trouble but its Decline is a hard error.
 * A deadline that runs out is one too, as in the kernel: whoever promised a Proposal or Confirm and does not send it may
 * still send it later, and TCP must not carry it to the application.
 */
import { SmcError } from "../errors.js";
import { encodeClc } from "../wire/clc.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { isEmulated } from "../wire/clc-ism.js";
import type { LocalDevice, LocalEndpoint, LocalOffer, OfferedPeer, PeerEndpoint } from "./agreement.js";
import { FEATURES, toAnswer, toPeer } from "./answer.js";
import { localFallback, peerFallback } from "./fallback.js";
import {
  attachLost,
  broken,
  type Done,
  fail,
  fallBack,
  finish,
  type HandshakeAction,
  type HandshakeEvent,
  parse,
  sendDecline,
  spoken,
  type Transition,
  violation,
} from "./handshake.js";
import { type Step, selectionSteps } from "./select.js";

/** The walk over what can be selected. */
interface Selection {
  readonly offer: LocalOffer;
  /** Version of a Decline, should it come to that. */
  readonly version: 1 | 2;
  readonly left: readonly Step[];
  /** First diagnosis met. */
  readonly diagnosis: number | undefined;
}

/** What was selected and registered. */
interface Selected {
  readonly device: LocalDevice;
  readonly offered: OfferedPeer;
  readonly local: LocalEndpoint;
}

export type ServerState =
  | { readonly name: "idle"; readonly offer: LocalOffer }
  | { readonly name: "awaitProposal"; readonly offer: LocalOffer }
  | {
      readonly name: "registering";
      readonly device: LocalDevice;
      readonly offered: OfferedPeer;
      readonly selection: Selection;
    }
  | ({ readonly name: "awaitConfirm" } & Selected)
  | ({
      readonly name: "attaching";
      readonly peer: PeerEndpoint;
      readonly featureMask: number | undefined;
    } & Selected)
  | Done;

export type ServerEvent =
  | HandshakeEvent
  /** Own DMB registered. */
  | { readonly type: "registered"; readonly local: LocalEndpoint }
  | { readonly type: "registerFailed"; readonly diagnosis: number }
  /** The client's DMB attached. */
  | { readonly type: "attached" }
  | { readonly type: "attachFailed"; readonly diagnosis: number };

export type ServerAction =
  | HandshakeAction
  /** Find or create the link group, register an own DMB, attach nothing yet; then report. */
  | { readonly type: "register"; readonly device: LocalDevice; readonly peer: OfferedPeer }
  /** Attach the client's DMB; then report. */
  | { readonly type: "attach"; readonly device: LocalDevice; readonly peer: PeerEndpoint };

type ServerStep = Transition<ServerState, ServerAction>;

/** A machine that waits for "start". */
export const serverHandshake = (offer: LocalOffer): ServerState => ({ name: "idle", offer });

/** Register for the next pairing worth trying; decline with the first diagnosis if none is left. */
function advance(selection: Selection): ServerStep {
  let { left, diagnosis } = selection;
  for (;;) {
    const [step, ...rest] = left;
    if (step === undefined) break;
    left = rest;
    if (step.device) {
      const { device, peer: offered } = step;
      return {
        state: { name: "registering", device, offered, selection: { ...selection, left, diagnosis } },
        actions: [{ type: "register", device, peer: offered }],
      };
    }
    diagnosis ??= step.diagnosis;
  }
  const code = diagnosis ?? DIAGNOSIS.INTERR.code;
  // The client may have lost its patience just now: its own Decline can cross ours.
  return finish(
    sendDecline(selection.version, code, selection.offer.peerId),
    fallBack(localFallback(code), { filterLate: true }),
  );
}

function onProposal(offer: LocalOffer, bytes: Uint8Array): ServerStep {
  const message = parse(bytes);
  if (message instanceof Error) return fail(message);
  if (message.type === "Decline")
    return finish(fallBack(peerFallback(message.diagnosis), { outOfSync: message.outOfSync }));
  if (message.type !== "Proposal")
    return fail(violation(`a ${message.type} came instead of a Proposal`, { type: message.type }));
  const left = selectionSteps(message, offer);
  return advance({ offer, version: spoken(message.version), left, diagnosis: undefined });
}

function onRegistered(state: ServerState & { name: "registering" }, local: LocalEndpoint): ServerStep {
  const { device, offered, selection } = state;
  const { version, release, eid } = offered;
  const { hostName } = selection.offer;
  const accept = toAnswer("Accept", device, local, { version, release, eid, hostName, featureMask: FEATURES });
  return {
    state: { name: "awaitConfirm", device, offered, local },
    actions: [
      { type: "send", bytes: encodeClc(accept) },
      { type: "wait", for: "Confirm" },
    ],
  };
}

/** The first thing in which a Confirm contradicts the Accept; undefined if it fits. */
function contradictionOf(offered: OfferedPeer, local: LocalEndpoint, peer: PeerEndpoint): string | undefined {
  if (peer.version !== offered.version) return "version";
  if (peer.gid !== offered.gid) return "GID";
  if (peer.chid !== offered.chid) return "CHID";
  if (peer.eid !== offered.eid) return "EID";
  if (offered.chid !== undefined && isEmulated(offered.chid) && peer.gidExt !== offered.gidExt) return "GID extension";
  if (peer.firstContact !== local.firstContact) return "first contact";
  if (peer.firstContact && peer.release !== offered.release) return "release";
  return undefined;
}

/**
 * differs: for a release that is not repeated the kernel declines (RELEASEERR) and goes on as TCP although the client is
 * live on SMC by then; the two would talk past each other, so here the connection ends.
 */
function onConfirm(state: ServerState & { name: "awaitConfirm" }, bytes: Uint8Array): ServerStep {
  const { device, offered, local } = state;
  const message = parse(bytes);
  if (message instanceof Error) return fail(message);
  if (message.type === "Decline")
    return finish(fallBack(peerFallback(message.diagnosis), { outOfSync: message.outOfSync }));
  if (message.type !== "Confirm")
    return fail(violation(`a ${message.type} came instead of a Confirm`, { type: message.type }));
  if (message.path !== "D") return fail(violation("the Confirm is for SMC-R, the Accept was for SMC-D"));
  const peer = toPeer(message);
  const wrong = contradictionOf(offered, local, peer);
  if (wrong !== undefined) return fail(violation(`the Confirm contradicts the Accept: ${wrong}`, { field: wrong }));
  const featureMask = message.v2 ? message.v2.extension?.featureMask : 0;
  return {
    state: { name: "attaching", device, offered, local, peer, featureMask },
    actions: [{ type: "attach", device, peer }],
  };
}

function onMessage(state: Exclude<ServerState, Done>, bytes: Uint8Array): ServerStep {
  if (state.name === "awaitProposal") return onProposal(state.offer, bytes);
  if (state.name === "awaitConfirm") return onConfirm(state, bytes);
  return fail(violation(`a message came in state ${state.name}`, { state: state.name }));
}

/**
 * One step. An event that means nothing in a state (a deadline that is not armed, anything after the end) changes
 * nothing.
 */
export function reduceServer(state: ServerState, event: ServerEvent): ServerStep {
  const stay: ServerStep = { state, actions: [] };
  if (state.name === "done") return stay;
  switch (event.type) {
    case "start":
      if (state.name !== "idle") return stay;
      return { state: { ...state, name: "awaitProposal" }, actions: [{ type: "wait", for: "Proposal" }] };
    case "message":
      return onMessage(state, event.bytes);
    case "timeout":
      if (state.name !== "awaitProposal" && state.name !== "awaitConfirm") return stay;
      return fail(new SmcError("ETIMEDOUT", `CLC handshake: ${state.name}`, { state: state.name }));
    case "foreign":
      if (state.name !== "awaitProposal") return fail(broken(event, state.name));
      return finish(fallBack(localFallback(DIAGNOSIS.PEERNOSMC.code)));
    case "registered":
      return state.name === "registering" ? onRegistered(state, event.local) : stay;
    case "registerFailed": {
      if (state.name !== "registering") return stay;
      const { selection } = state;
      return advance({ ...selection, diagnosis: selection.diagnosis ?? event.diagnosis });
    }
    case "attached": {
      if (state.name !== "attaching") return stay;
      const { device, local, peer, featureMask } = state;
      return finish({ type: "agreed", agreement: { role: "server", path: "D", device, local, peer, featureMask } });
    }
    case "attachFailed":
      return state.name === "attaching" ? fail(attachLost(event.diagnosis)) : stay;
    default:
      return fail(broken(event, state.name));
  }
}
