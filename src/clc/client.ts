/**
 * The client's side of the CLC handshake as a pure machine: Proposal out, Accept in, Confirm out.
 *
 * Owns the client's decisions. No socket, no timer, no device: see handshake.ts for the driver's part.
 * Source: smc-protocol §2.6 - §2.10.
 *
 *   idle         start -> awaitAccept; nothing to offer -> done (fallback)
 *   awaitAccept  Accept -> attaching; Accept of something else, Decline, timeout -> done (fallback); foreign -> done (fail)
 *   attaching    attached -> done (agreed); attachFailed -> done (fallback)
 *
 * differs: a silent server costs the kernel's client its connection (ETIMEDOUT); here the client declines and goes on as
 * TCP. That is sound because the server is not live before a Confirm, and answers every Proposal with exactly one message,
 * which LateFilter swallows.
 */
import type { SmcError } from "../errors.js";
import { encodeClc } from "../wire/clc.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { includesD } from "../wire/clc-header.js";
import type { Proposal } from "../wire/clc-proposal.js";
import type { SmcdAnswer } from "../wire/clc-smcd.js";
import type { LocalDevice, LocalEndpoint, LocalOffer, PeerEndpoint } from "./agreement.js";
import { FEATURES, toAnswer, toPeer } from "./answer.js";
import { localFallback, peerFallback } from "./fallback.js";
import {
  broken,
  type Done,
  fail,
  fallBack,
  finish,
  type HandshakeAction,
  type HandshakeEvent,
  parse,
  sendDecline,
  type Transition,
  violation,
} from "./handshake.js";
import { buildOffer, v1Device } from "./offer.js";

export type ClientState =
  | { readonly name: "idle"; readonly offer: LocalOffer }
  | { readonly name: "awaitAccept"; readonly offer: LocalOffer; readonly proposal: Proposal }
  | {
      readonly name: "attaching";
      readonly offer: LocalOffer;
      readonly device: LocalDevice;
      readonly peer: PeerEndpoint;
      /** Common to both sides; undefined if the Accept did not say. */
      readonly featureMask: number | undefined;
    }
  | Done;

export type ClientEvent =
  | HandshakeEvent
  /** Own DMB registered and the peer's attached. */
  | { readonly type: "attached"; readonly local: LocalEndpoint }
  /** Either of the two failed; nothing stays registered. SYNCERR if the link group does not exist here. */
  | { readonly type: "attachFailed"; readonly diagnosis: number };

export type ClientAction =
  | HandshakeAction
  /** Find or create the link group, register an own DMB, attach the peer's; then report. */
  | { readonly type: "attach"; readonly device: LocalDevice; readonly peer: PeerEndpoint };

type ClientStep = Transition<ClientState, ClientAction>;

/** A machine that waits for "start". */
export const clientHandshake = (offer: LocalOffer): ClientState => ({ name: "idle", offer });

const NO_PEER_ID = new Uint8Array(8);

/** Decline and go on as TCP. */
function decline(
  version: 1 | 2,
  code: number,
  peerId: Uint8Array,
  { filterLate = false } = {},
): Transition<Done, ClientAction> {
  return finish(sendDecline(version, code, peerId), fallBack(localFallback(code), { filterLate }));
}

/** Proposals by what they are made of: the same offer always gives the same bytes. */
const proposals = new WeakMap<LocalOffer, { readonly proposal: Proposal; readonly bytes: Uint8Array }>();

function start(offer: LocalOffer): ClientStep {
  let made = proposals.get(offer);
  if (made === undefined) {
    const { proposal, diagnosis } = buildOffer(offer);
    if (!proposal) return decline(offer.version, diagnosis, offer.peerId);
    made = { proposal, bytes: encodeClc(proposal) };
    proposals.set(offer, made);
  }
  const { proposal, bytes } = made;
  return {
    state: { name: "awaitAccept", offer, proposal },
    actions: [
      { type: "send", bytes },
      { type: "wait", for: "Accept" },
    ],
  };
}

/** The device that an Accept selects; a diagnosis to decline with; or the violation that ends the connection. §2.7. */
function selected(
  offer: LocalOffer,
  proposal: Proposal,
  accept: SmcdAnswer,
): { device: LocalDevice } | { diagnosis: number } | { error: SmcError } {
  if (!includesD(accept.version === 1 ? proposal.typev1 : proposal.typev2))
    return { diagnosis: DIAGNOSIS.MODEUNSUPP.code };
  if (!accept.v2) {
    const device = v1Device(offer);
    return device ? { device } : { diagnosis: DIAGNOSIS.MODEUNSUPP.code };
  }
  const { chid, eid, extension } = accept.v2;
  const chids = [proposal.smcd?.chid, ...(proposal.v2?.smcd?.entries.map((entry) => entry.chid) ?? [])];
  const device = offer.devices.find((own) => own.chid === chid);
  if (chid === 0 || !chids.includes(chid) || !device)
    return { error: violation(`the Accept selects CHID 0x${chid.toString(16)}, which was not offered`, { chid }) };
  // differs: the kernel does not look at the EID of an Accept; it decides who may meet, so it has to be one of ours.
  if (!offer.ueids.includes(eid))
    return { error: violation(`the Accept names EID "${eid}", which was not offered`, { eid }) };
  if (extension && extension.release > (proposal.v2?.release ?? 0)) return { diagnosis: DIAGNOSIS.RELEASEERR.code };
  return { device };
}

function onAccept(offer: LocalOffer, proposal: Proposal, bytes: Uint8Array): ClientStep {
  const message = parse(bytes);
  if (message instanceof Error) return fail(message);
  if (message.type === "Decline")
    return finish(fallBack(peerFallback(message.diagnosis), { outOfSync: message.outOfSync }));
  if (message.type !== "Accept")
    return fail(violation(`a ${message.type} came instead of an Accept`, { type: message.type }));
  // Only SMC-D is offered.
  if (message.path !== "D") return decline(offer.version, DIAGNOSIS.MODEUNSUPP.code, offer.peerId);
  const choice = selected(offer, proposal, message);
  if ("error" in choice) return fail(choice.error);
  if ("diagnosis" in choice) return decline(offer.version, choice.diagnosis, offer.peerId);
  const { device } = choice;
  const peer = toPeer(message);
  const mask = message.v2 ? message.v2.extension?.featureMask : 0;
  const featureMask = mask === undefined ? undefined : mask & FEATURES;
  return {
    state: { name: "attaching", offer, device, peer, featureMask },
    actions: [{ type: "attach", device, peer }],
  };
}

function onAttached(state: ClientState & { name: "attaching" }, local: LocalEndpoint): ClientStep {
  const { offer, device, peer, featureMask } = state;
  const confirm = toAnswer("Confirm", device, local, {
    version: peer.version,
    release: peer.release ?? 0,
    eid: peer.eid,
    hostName: offer.hostName,
    featureMask: featureMask ?? 0,
  });
  return finish(
    { type: "send", bytes: encodeClc(confirm) },
    { type: "agreed", agreement: { role: "client", path: "D", device, local, peer, featureMask } },
  );
}

/**
 * One step. An event that means nothing in a state (a deadline that is not armed, anything after the end) changes
 * nothing.
 */
export function reduceClient(state: ClientState, event: ClientEvent): ClientStep {
  const stay: ClientStep = { state, actions: [] };
  if (state.name === "done") return stay;
  switch (event.type) {
    case "start":
      return state.name === "idle" ? start(state.offer) : stay;
    case "message":
      if (state.name === "awaitAccept") return onAccept(state.offer, state.proposal, event.bytes);
      return fail(violation(`a message came in state ${state.name}`, { state: state.name }));
    case "timeout":
      if (state.name !== "awaitAccept") return stay;
      return decline(state.offer.version, DIAGNOSIS.TIMEOUT_CL.code, state.offer.peerId, { filterLate: true });
    case "attached":
      return state.name === "attaching" ? onAttached(state, event.local) : stay;
    case "attachFailed":
      return state.name === "attaching" ? decline(state.peer.version, event.diagnosis, NO_PEER_ID) : stay;
    default:
      return fail(broken(event, state.name));
  }
}
