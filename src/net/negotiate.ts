/**
 * Drives one handshake: a pure CLC machine on one side, a raw TCP handle, a clock and the stack on the other.
 *
 * Owns the wiring and nothing of the protocol. Ends in exactly one of: SMC, TCP with every foreign byte kept, failure.
 * Whoever destroys the handle meanwhile calls cancel() first.
 */
import type { LocalEndpoint } from "../clc/agreement.js";
import { type ClientAction, type ClientEvent, clientHandshake, reduceClient } from "../clc/client.js";
import type { FallbackReason } from "../clc/fallback.js";
import { ClcFraming, LateFilter } from "../clc/framing.js";
import type { HandshakeEvent, Transition } from "../clc/handshake.js";
import { reduceServer, type ServerAction, type ServerEvent, serverHandshake } from "../clc/server.js";
import type { SmcOptions } from "../config.js";
import { SmcError } from "../errors.js";
import type { Policy } from "../policy.js";
import type { Stack } from "../stack.js";
import { channels, debug } from "../trace.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { dumpClc } from "../wire/dump.js";
import type { EngineBinding } from "./binding.js";
import type { ClcSocket } from "./clc-socket.js";
import { Establishment } from "./establish.js";
import type { SmcHandle, SmcHandleClass } from "./handle.js";
import { localOffer } from "./local-offer.js";

/** A server may wait as long as the kernel does: nobody's connect hangs on it. Source: smc-protocol §2.8. */
const SERVER_WAIT_MS = 6000;

/** How a negotiation ends; exactly one is called, never from inside start(). */
export interface NegotiationPort {
  smc(handle: SmcHandle): void;
  /** `rest` came from the peer and is the application's; `late` filters one message that may still come. */
  tcp(reason: FallbackReason, rest: Uint8Array, late: LateFilter | undefined): void;
  failed(error: Error): void;
}

/** The parts that all negotiations of a thread share. */
export interface NegotiationContext {
  readonly engine: EngineBinding;
  readonly stack: Stack;
  readonly SmcHandle: SmcHandleClass;
  /** The peer did not say that it speaks SMC, or we could not see that it does: no CLC byte was sent. */
  readonly noPeer: FallbackReason;
  /** Which connections may use SMC. */
  readonly policy: Policy;
}

/** What this side brings to a negotiation. */
export interface Part {
  readonly role: "client" | "server";
  readonly clcSocket: ClcSocket;
  readonly options: SmcOptions;
  /** A server that was matched, but has nothing to offer to this client. */
  readonly declines?: boolean;
}

type Machine = (event: HandshakeEvent | ClientEvent | ServerEvent) => readonly (ClientAction | ServerAction)[];

/** A machine with its state inside. */
function running<S, E, A>(reduce: (state: S, event: E) => Transition<S, A>, initial: S): (event: E) => readonly A[] {
  let state = initial;
  return (event) => {
    const step = reduce(state, event);
    state = step.state;
    return step.actions;
  };
}

export class Negotiation {
  readonly #context: NegotiationContext;
  readonly #role: "client" | "server";
  readonly #options: SmcOptions;
  readonly #port: NegotiationPort;
  readonly #machine: Machine;
  readonly #clcSocket: ClcSocket;
  readonly #framing = new ClcFraming();
  readonly #establishment: Establishment;
  #timer: NodeJS.Timeout | undefined;
  #onTalk: (() => void) | undefined;
  #over = false;
  #engaged = false;
  #awaiting = false;

  constructor(
    context: NegotiationContext,
    { role, clcSocket, options, declines = false }: Part,
    port: NegotiationPort,
  ) {
    const { stack } = context;
    this.#context = context;
    this.#role = role;
    this.#options = options;
    this.#port = port;
    this.#establishment = new Establishment(stack, options);
    const known = localOffer(stack, options, clcSocket.localAddress);
    const offer = declines ? { ...known, devices: [] } : known;
    this.#machine = (
      role === "client" ? running(reduceClient, clientHandshake(offer)) : running(reduceServer, serverHandshake(offer))
    ) as Machine;
    this.#clcSocket = clcSocket;
  }

  /** Reads, but keeps what comes: a client that waits for its match. `onTalk` is called when something came. */
  listenFor(onTalk: () => void): void {
    this.#onTalk = onTalk;
    this.#read();
  }

  start(): void {
    this.#onTalk = undefined;
    this.#read();
    this.#context.stack.arrived();
    this.#feed({ type: "start" });
  }

  #read(): void {
    if (!this.#engaged) {
      this.#engaged = true;
      this.#context.stack.engage(1);
    }
    this.#clcSocket.startReading({ bytes: (data) => this.#bytes(data), ended: (status) => this.#ended(status) });
  }

  /** No match: goes on as TCP without a CLC byte. */
  giveUp(): void {
    if (this.#over) return;
    this.#fallBack(this.#context.noPeer, false, false);
  }

  /** The handle is about to be closed by somebody else: nothing is called any more. */
  cancel(): void {
    if (this.#over) return;
    this.#finish();
    this.#establishment.abandon(false);
  }

  #bytes(data: Uint8Array): void {
    this.#context.stack.arrived();
    this.#framing.push(data);
    if (this.#onTalk !== undefined) this.#onTalk();
    else this.#cut();
  }

  #ended(status: number): void {
    // An end is read again, by start() or by whoever goes on with TCP; an error cannot be.
    if (this.#onTalk !== undefined && status === 0) {
      this.#onTalk();
      return;
    }
    if (this.#onTalk !== undefined) this.#fail(new SmcError("ECONNRESET", "the TCP connection failed", { status }));
    else if (status === 0) this.#feed({ type: "eof" });
    else this.#feed({ type: "error", error: new SmcError("ECONNRESET", "the TCP connection failed", { status }) });
  }

  /** Feeds the machine with what the framing has, while it waits for a message. */
  #cut(): void {
    while (this.#awaiting && !this.#over) {
      const framed = this.#framing.next();
      if (framed.type === "partial") return;
      this.#awaiting = false;
      if (framed.type === "foreign") this.#feed({ type: "foreign" });
      else {
        this.#trace("received", framed.bytes);
        this.#feed({ type: "message", bytes: framed.bytes });
      }
    }
  }

  #feed(event: HandshakeEvent | ClientEvent | ServerEvent): void {
    for (const action of this.#machine(event)) {
      if (this.#over) return;
      this.#act(action);
    }
  }

  #act(action: ClientAction | ServerAction): void {
    switch (action.type) {
      case "send":
        this.#send(action.bytes);
        return;
      case "wait":
        this.#wait();
        return;
      case "register":
        this.#answer(this.#establishment.register(action.device.name, action.peer), "registered", "registerFailed");
        return;
      case "attach":
        if (this.#role === "client")
          this.#answer(
            this.#establishment.registerAndAttach(action.device.name, action.peer),
            "attached",
            "attachFailed",
          );
        else if (this.#establishment.attach(action.peer.token)) this.#feed({ type: "attached" });
        else this.#feed({ type: "attachFailed", diagnosis: DIAGNOSIS.MEM.code });
        return;
      case "agreed": {
        const { SmcHandle } = this.#context;
        if (this.#framing.takeRest().length > 0) {
          this.#fail(new SmcError("EPROTO", "bytes follow the last CLC message on the TCP connection"));
          return;
        }
        this.#finish();
        const { tcp } = this.#clcSocket;
        const handle = new SmcHandle(tcp);
        handle.bind(this.#establishment.connect(action.agreement, handle));
        this.#port.smc(handle);
        return;
      }
      case "fallback":
        this.#fallBack(action.reason, action.filterLate, action.outOfSync);
        return;
      case "fail":
        this.#fail(action.error);
    }
  }

  #answer(
    local: LocalEndpoint | number,
    good: "registered" | "attached",
    bad: "registerFailed" | "attachFailed",
  ): void {
    if (typeof local === "number") this.#feed({ type: bad, diagnosis: local } as ServerEvent);
    else this.#feed({ type: good, local } as ServerEvent);
  }

  #send(bytes: Uint8Array): void {
    this.#trace("sent", bytes);
    const status = this.#clcSocket.send(bytes);
    if (status < 0) this.#fail(new SmcError("ECONNRESET", "a CLC message could not be written", { status }));
  }

  #wait(): void {
    this.#awaiting = true;
    clearTimeout(this.#timer);
    const ms = this.#role === "client" ? this.#options.clcTimeoutMs : SERVER_WAIT_MS;
    // A loop that was blocked runs its timers before it reads: what has arrived by now still counts.
    this.#timer = setTimeout(() => setImmediate(() => this.#expired()), ms);
    this.#cut();
  }

  #expired(): void {
    if (!this.#over && this.#awaiting) this.#feed({ type: "timeout" });
  }

  #finish(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    if (this.#engaged) this.#context.stack.engage(-1);
    this.#engaged = false;
  }

  #fallBack(reason: FallbackReason, filterLate: boolean, outOfSync: boolean): void {
    this.#finish();
    this.#establishment.abandon(outOfSync);
    const late = filterLate ? new LateFilter(this.#framing) : undefined;
    const rest = late === undefined ? this.#framing.takeRest() : late.push(new Uint8Array(0));
    this.#clcSocket.giveBack(rest.length);
    this.#port.tcp(reason, rest, late?.done === false ? late : undefined);
  }

  #fail(error: Error): void {
    this.#finish();
    this.#establishment.abandon(false);
    this.#context.stack.counters[this.#role === "client" ? "clientHandshakeErrors" : "serverHandshakeErrors"]++;
    debug("%s handshake failed: %s", this.#role, error.message);
    this.#port.failed(error);
  }

  #trace(direction: "sent" | "received", bytes: Uint8Array): void {
    if (channels.clc.hasSubscribers) channels.clc.publish({ direction, role: this.#role, bytes });
    if (debug.enabled) debug("%s %s %s", this.#role, direction, dumpClc(bytes));
  }
}
