/**
 * For the report of a process: clients that connect where nobody is known who speaks SMC are counted as well.
 *
 * They go the shortest way, which counts nothing; so this stands around `connect`, and only where a report was asked for.
 * Fallbacks after a negotiation have been counted when the connection is complete; the trace tells which those are.
 */
import type { Socket } from "node:net";
import { type ConnectRequest, engineBinding, type TcpHandle } from "../net/binding.js";
import { threadContext } from "../net/context.js";
import { channels } from "../trace.js";

type Connect = TcpHandle["connect"];

/** A method to be replaced, and by what. */
interface Around {
  readonly target: object;
  readonly name: string;
  make(original: unknown): unknown;
}

const negotiated = new WeakSet<object>();

function remember(message: unknown): void {
  const { socket } = message as { socket?: object };
  if (socket !== undefined) negotiated.add(socket);
}

function count(socket: Socket): void {
  const { smc } = socket;
  if (smc?.fallback === undefined || negotiated.has(socket)) return;
  threadContext().stackIfAny?.counters.fellBack("client", smc.fallback.code);
}

/** To be put around the preload's own. */
export function plainClientCounting(): Around[] {
  const { engine } = engineBinding();
  if (engine === undefined) return [];
  const { TCP, owner } = engine;
  channels.fallback.subscribe(remember);
  const make = (original: unknown): unknown =>
    function (this: TcpHandle, request: ConnectRequest, address: string, port: number): number {
      const socket = this[owner] as Socket | undefined;
      const { oncomplete } = request;
      request.oncomplete = function (status, ...rest) {
        if (status === 0 && socket !== undefined) count(socket);
        oncomplete.call(this, status, ...rest);
      };
      return (original as Connect).call(this, request, address, port);
    };
  return ["connect", "connect6"].map((name) => ({ target: TCP.prototype as object, name, make }));
}
