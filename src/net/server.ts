/**
 * Listening sockets: SMC between accept and the `connection` event.
 *
 * Hooks `_listen2` of one server, then the `onconnection` of its TCP handle: covers net, http, https and everything else
 * that stands on net.Server; nothing global. A connection that nobody claimed goes on at once, on its native handle.
 */
import { Server, type Socket } from "node:net";
import type { FallbackReason } from "../clc/fallback.js";
import type { SmcOptions } from "../config.js";
import { SmcError } from "../errors.js";
import type { Claimants } from "../rendezvous/acceptor.js";
import type { Endpoint } from "../rendezvous/address.js";
import type { Wildcard } from "../rendezvous/host.js";
import { channels, debug } from "../trace.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { adaptSocket } from "./adapt.js";
import { type AddressOut, endpointsOf, type TcpHandle } from "./binding.js";
import { ClcSocket } from "./clc-socket.js";
import { noDevice, threadContext } from "./context.js";
import { filterLate, giveBack } from "./fallback-read.js";
import type { SmcHandle } from "./handle.js";
import { Negotiation, type NegotiationContext } from "./negotiate.js";
import { type Carrier, showStatus, smcdStatus } from "./status.js";

/** Flag of listen: IPv6 only. */
const UV_TCP_IPV6ONLY = 1;

type ListenArguments = [
  address: string | null,
  port: number,
  family: number,
  backlog: number,
  fd: number,
  flags?: number,
];
type InternalServer = Server & {
  _handle: TcpHandle | null;
  _connections: number;
  _listen2(...args: ListenArguments): void;
};

const hooked = new WeakSet<Server>();

/** Whether the server accepts SMC. */
export const isHooked = (server: Server): boolean => hooked.has(server);

/** Makes a server speak SMC from its next listen(), or from now on if it listens already. Idempotent. */
export function hookServer(server: Server, options: SmcOptions): void {
  if (hooked.has(server)) return;
  hooked.add(server);
  const internal = server as InternalServer;
  Object.defineProperty(internal, "_listen2", {
    configurable: true,
    writable: true,
    enumerable: false,
    value(this: InternalServer, ...args: ListenArguments) {
      (Server.prototype as InternalServer)._listen2.apply(this, args);
      hookListening(this, options, args[5]);
    },
  });
  if (internal._handle) hookListening(internal, options);
}

/** Makes a server that has begun to listen accept SMC. Takes: flags, of its listen. */
export function hookListening(listening: Server, options: SmcOptions, flags = 0): void {
  const server = listening as InternalServer;
  const ipv6Only = (flags & UV_TCP_IPV6ONLY) !== 0;
  const context = threadContext().ready();
  const handle = server._handle;
  if ("reason" in context || !options.enabled) {
    if (handle) showOnAccept(server, handle, noDevice("reason" in context ? context.reason : "switched off"));
    return;
  }
  // In a cluster worker the primary listens, and the handle is a plain object with the same face.
  if (handle === null || handle.onconnection === undefined || typeof handle.getsockname !== "function") return;
  new Listener(context, server, handle, options, ipv6Only);
}

/** A listener that cannot speak SMC: its sockets only say why. */
function showOnAccept(server: InternalServer, handle: TcpHandle, reason: FallbackReason): void {
  const { onconnection } = handle;
  if (onconnection === undefined) return;
  server.prependListener("connection", (socket) => showStatus(socket, reason));
}

/** Whoever claimed a connection on which no Proposal comes has lied, or is as good as dead: no more claims of his are believed. */
function refute(claimants: Claimants): void {
  for (const pair of claimants) pair.fail("it claimed a connection that was not its own");
}

/** A connection that may be SMC's. */
interface Accepted {
  readonly client: TcpHandle;
  /** Its own address. */
  readonly address: string;
  /** The policy has something against it. */
  readonly declines: boolean;
  readonly claimants: Claimants;
}

class Listener {
  readonly #context: NegotiationContext;
  readonly #server: InternalServer;
  readonly #handle: TcpHandle;
  readonly #options: SmcOptions;
  readonly #accept: NonNullable<TcpHandle["onconnection"]>;
  /** Shows the status of a socket the moment its handle gets it: before `connection` is emitted. One for all handles. */
  readonly #atBirth: PropertyDescriptor;
  /** Own end of every connection, where it is the same for all. */
  #own: Endpoint | undefined;
  /** What carries the socket that is being born. */
  #carrier: Carrier;
  /** Handshakes and waits under way, each with the way to end it. */
  readonly #underWay = new Set<() => void>();

  constructor(
    context: NegotiationContext,
    server: InternalServer,
    handle: TcpHandle,
    options: SmcOptions,
    ipv6Only: boolean,
  ) {
    this.#context = context;
    this.#carrier = context.noPeer;
    this.#server = server;
    this.#handle = handle;
    this.#options = options;
    this.#accept = handle.onconnection!;
    const leave = this.#enter(ipv6Only);
    const listener = this;
    const { owner } = context.engine;
    this.#atBirth = {
      configurable: true,
      get: () => undefined,
      set(this: TcpHandle | SmcHandle, socket: object) {
        Object.defineProperty(this, owner, { value: socket, configurable: true, writable: true, enumerable: true });
        showStatus(socket, listener.#carrier);
        if ("connection" in this) adaptSocket(socket);
      },
    };
    Object.defineProperty(handle, "onconnection", {
      configurable: true,
      writable: true,
      enumerable: true,
      value: (error: number, client?: TcpHandle) => this.#connection(error, client),
    });
    // The registry entry closes before the listening socket does; sockets still negotiating go with it.
    // The handle of a cluster worker has a `close` of its own, which its prototype does not.
    const own = Object.getOwnPropertyDescriptor(handle, "close");
    Object.defineProperty(handle, "close", {
      configurable: true,
      value(closed?: () => void) {
        Reflect.deleteProperty(handle, "close");
        if (own !== undefined) Object.defineProperty(handle, "close", own);
        listener.#close(leave);
        handle.close(closed);
      },
    });
  }

  #close(leave: (() => void) | undefined): void {
    leave?.();
    for (const end of this.#underWay) end();
    this.#underWay.clear();
  }

  #enter(ipv6Only: boolean): (() => void) | undefined {
    const own: AddressOut = {};
    if (this.#handle.getsockname(own) !== 0 || own.address === undefined || own.port === undefined) return undefined;
    const wildcard: Wildcard =
      own.address === "0.0.0.0" ? "any4" : own.address === "::" ? (ipv6Only ? "any6" : "dual") : "none";
    const { address, port } = own;
    if (wildcard === "none") this.#own = { address, port };
    return this.#context.stack.rendezvous.listen({ address, port }, wildcard);
  }

  /** Hands a connection to `net`, and its socket the status. */
  #deliver(handle: TcpHandle | SmcHandle, carrier: Carrier): void {
    this.#carrier = carrier;
    Object.defineProperty(handle, this.#context.engine.owner, this.#atBirth);
    this.#accept.call(this.#handle, 0, handle as TcpHandle);
  }

  #connection(error: number, client?: TcpHandle): void {
    const { stack } = this.#context;
    const server = this.#server;
    if (error !== 0 || client === undefined) {
      this.#accept.call(this.#handle, error, client);
      return;
    }
    const ends = endpointsOf(client, this.#own);
    const full = server.maxConnections > 0 && server._connections >= server.maxConnections;
    if (ends === undefined || full) {
      this.#plain(client, this.#context.noPeer);
      return;
    }
    const { claimWaitMs, negotiateAlways } = this.#options;
    const { address, port } = ends.local;
    const declines = !this.#context.policy.permits("server", address, port);
    const claimants: Claimants = new Set();
    const accepted: Accepted = { client, address, declines, claimants };
    let negotiation: Negotiation | undefined;
    const decided = (matched: boolean): void => {
      if (matched || negotiateAlways) (negotiation ?? this.#negotiation(accepted)).start();
      else if (negotiation !== undefined) negotiation.giveUp();
      else this.#plain(client, this.#context.noPeer);
    };
    const found = stack.rendezvous.accept(ends.peer, ends.local, claimWaitMs, decided, claimants);
    if (typeof found === "boolean") {
      decided(found);
      return;
    }
    // While it waits it listens: a client that talks first is plain, and its bytes are kept for the application.
    negotiation = this.#negotiation(accepted, () => found.cancel());
    negotiation.listenFor(() => found.settle());
  }

  #plain(client: TcpHandle, reason: FallbackReason): void {
    this.#context.stack.counters.fellBack("server", reason.code);
    this.#deliver(client, reason);
  }

  /** A handshake for an accepted connection, not begun; counted as under way until it ends. */
  #negotiation({ client, address, declines, claimants }: Accepted, onCancel?: () => void): Negotiation {
    const context = this.#context;
    const { engine } = context;
    const cancel = (): void => {
      onCancel?.();
      negotiation.cancel();
      client.close();
    };
    const clcSocket = new ClcSocket(engine, client, address);
    const negotiation = new Negotiation(
      context,
      { role: "server", clcSocket, options: this.#options, declines },
      {
        smc: (handle) => {
          this.#underWay.delete(cancel);
          const { connection } = handle;
          this.#deliver(handle, connection);
          if (channels.connected.hasSubscribers)
            channels.connected.publish({ socket: handle[engine.owner], status: smcdStatus(connection) });
        },
        tcp: (reason, rest, late) => {
          this.#underWay.delete(cancel);
          if (reason.code === DIAGNOSIS.PEERNOSMC.code) refute(claimants);
          this.#plain(client, reason);
          const socket = client[engine.owner] as Socket | undefined;
          if (channels.fallback.hasSubscribers) channels.fallback.publish({ socket, side: "server", reason });
          if (socket === undefined) return;
          giveBack(engine, socket, client, rest);
          if (late !== undefined) filterLate(engine, socket, client, late);
        },
        failed: (error) => {
          onCancel?.();
          this.#underWay.delete(cancel);
          if (error instanceof SmcError && error.values["state"] === "awaitProposal") refute(claimants);
          debug("server handshake dropped: %s", error.message);
          client.reset();
        },
      },
    );
    this.#underWay.add(cancel);
    return negotiation;
  }
}
