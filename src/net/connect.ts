/**
 * Client sockets: SMC between the TCP connect and the `connect` event.
 *
 * Owns what happens to one `connect` of a TCP handle, whoever intercepted it. `connecting` stays true until the negotiation
 * ends, so early writes queue as they always do. Then the seat of the handle has another one, or the same as ever.
 */
import { AsyncResource } from "node:async_hooks";
import { type FallbackReason, localFallback } from "../clc/fallback.js";
import type { SmcOptions } from "../config.js";
import type { Endpoint } from "../rendezvous/address.js";
import { channels } from "../trace.js";
import { UV_ECONNRESET, UV_ETIMEDOUT } from "../uv.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";
import { Announcement } from "./announce.js";
import type { ConnectRequest, TcpHandle } from "./binding.js";
import { ClcSocket } from "./clc-socket.js";
import { Negotiation, type NegotiationContext } from "./negotiate.js";
import { keepParserOff, letParserOn, readIfStarted } from "./parser.js";
import type { Seat } from "./seat.js";
import { showStatus, smcdStatus } from "./status.js";

/** One `connect` of a handle, as `net` asked for it. */
export interface Attempt {
  readonly context: NegotiationContext;
  readonly seat: Seat;
  readonly handle: TcpHandle;
  readonly options: SmcOptions;
  readonly request: ConnectRequest;
  readonly server: Endpoint;
  /** The handle's own connect. */
  connect(): number;
  /** Connects where nobody is known to listen who speaks SMC. Returns as connect. */
  plain(): number;
}

/** Whether SMC is worth an attempt: nothing speaks against it, and somebody is known to listen there who speaks it. */
export function worthAttempt(
  { stack, policy }: NegotiationContext,
  { negotiateAlways }: SmcOptions,
  server: Endpoint,
): boolean {
  return policy.permits("client", server.address, server.port) && (negotiateAlways || stack.rendezvous.knows(server));
}

/** Connects, where that is worth an attempt, and negotiates before `net` hears of it. */
export function connectHandle(attempt: Attempt): number {
  const { handle, seat, request, server, context } = attempt;
  // A process that was never met is met first: an intent has to stand before the SYN goes out.
  const cancel = context.stack.rendezvous.approach(server, () => {
    Reflect.deleteProperty(handle, "close");
    const status = announceAndConnect(attempt);
    readIfStarted(seat.socket);
    if (status !== 0) request.oncomplete(status, handle, request, false, false);
  });
  if (cancel === undefined) return announceAndConnect(attempt);
  Object.defineProperty(handle, "close", {
    configurable: true,
    value(closed?: () => void) {
      cancel();
      Reflect.deleteProperty(handle, "close");
      handle.close(closed);
    },
  });
  return 0;
}

/** Somebody listens there who speaks SMC, but not with us. */
const strangerThere = (reason: string): FallbackReason =>
  localFallback(DIAGNOSIS.PEERNOSMC.code, `who listens there could not be met: ${reason}`);

function announceAndConnect(attempt: Attempt): number {
  const { context, seat, handle, options, request, server } = attempt;
  // Who knows both ends needs no match; a server that does not wait for a Proposal would never make one.
  const intent = options.negotiateAlways ? undefined : context.stack.rendezvous.intend(server);
  const { oncomplete } = request;
  if (intent === undefined && !options.negotiateAlways) {
    const unmet = context.stack.rendezvous.unmet(server);
    if (unmet !== undefined) showStatus(seat.socket, strangerThere(unmet));
    return attempt.plain();
  }
  const announcement = intent && new Announcement(context.stack, handle, intent, server);
  const scope = new AsyncResource("SMCCONNECT");
  request.oncomplete = (status, _handle, _request, readable, writable) => {
    // The engine's objects outlive the connection by some collections of garbage: what hangs on them does as well.
    request.oncomplete = oncomplete;
    const complete = (final: number, result: unknown): void =>
      scope.runInAsyncScope(oncomplete, request, final, result, request, readable, writable);
    if (status !== 0 || !seat.waitsFor(handle)) {
      announcement?.withdraw();
      complete(status, handle);
      return;
    }
    negotiate(attempt, announcement, complete);
  };
  const status = attempt.connect();
  if (status === 0) announcement?.claim();
  else announcement?.withdraw();
  return status;
}

function negotiate(
  { context, seat, handle, options }: Attempt,
  announcement: Announcement | undefined,
  complete: (status: number, handle: unknown) => void,
): void {
  // The claim comes before anything that takes time: the acceptor waits for it.
  const claimed = announcement?.claim();
  keepParserOff(seat.socket);
  let timer: NodeJS.Timeout | undefined;
  const done = (): void => {
    clearTimeout(timer);
    letParserOn(seat.socket);
    Reflect.deleteProperty(handle, "close");
  };
  const clcSocket = new ClcSocket(context.engine, handle, announcement?.localAddress, () => seat.ownBuffer);
  const negotiation = new Negotiation(
    context,
    { role: "client", clcSocket, options },
    {
      smc(upgraded) {
        done();
        seat.take(upgraded);
        const { socket } = seat;
        const { connection } = upgraded;
        showStatus(socket, connection);
        if (channels.connected.hasSubscribers) channels.connected.publish({ socket, status: smcdStatus(connection) });
        complete(0, upgraded);
      },
      tcp(reason, rest, late) {
        done();
        const { socket } = seat;
        context.stack.counters.fellBack("client", reason.code);
        showStatus(socket, reason);
        if (channels.fallback.hasSubscribers) channels.fallback.publish({ socket, side: "client", reason });
        complete(seat.goOn(handle, rest, late), handle);
      },
      failed(error) {
        done();
        announcement?.withdraw();
        complete((error as { code?: string }).code === "ETIMEDOUT" ? UV_ETIMEDOUT : UV_ECONNRESET, handle);
      },
    },
  );
  // destroy(), an abort signal, a timeout or the next address close the handle: then nothing of ours may go on.
  Object.defineProperty(handle, "close", {
    configurable: true,
    value(closed?: () => void) {
      done();
      announcement?.withdraw();
      negotiation.cancel();
      handle.close(closed);
    },
  });
  if (announcement === undefined || announcement.settled()) {
    negotiation.start();
    announcement?.handOver();
    return;
  }
  if (!claimed) {
    announcement.withdraw();
    negotiation.giveUp();
    return;
  }
  announcement.onMatch = () => negotiation.start();
  const withdraw = (): void => {
    if (announcement.withdraw()) negotiation.giveUp();
  };
  // A loop that was blocked runs its timers first: what the acceptor did meanwhile is looked at before giving up.
  timer = setTimeout(() => setImmediate(withdraw), options.matchTimeoutMs);
  negotiation.listenFor(withdraw);
  announcement.handOver();
}
