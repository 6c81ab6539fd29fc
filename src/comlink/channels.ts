/**
 * MessagePorts whose two ends live in different processes: each is a channel of the one socket.
 *
 * Owns the numbers of channels and the ports at this end. A port that is sent away stays here and is bridged: what its
 * partner posts goes over the socket; over there a fresh pair of ports does the same. Knows nothing of bytes.
 *
 * A number is made by the end that sends the port away; in the numbers of the other end it has FROM_PEER set, and each frame
 * is written with the numbers of its sender. Channel 0 is the endpoint's own, at both ends.
 */
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { SmcError } from "../index.js";

const FROM_PEER = 0x8000_0000;

export interface ChannelEvents {
  /** A message for the other end, and the ports in it may go with it. */
  message(channel: number, message: unknown): void;
  /** The local end was closed. */
  closed(channel: number): void;
}

export class Channels {
  readonly #events: ChannelEvents;
  readonly #limit: number;
  readonly #ports = new Map<number, MessagePort>();
  /** Last number that this end, and the other end, have made. */
  #ownLast = 0;
  #peerLast = 0;

  /** Takes: limit, most channels open at a time beside channel 0. */
  constructor(limit: number, events: ChannelEvents) {
    this.#limit = limit;
    this.#events = events;
  }

  /** Channel of a frame that has come, in numbers of this end. */
  static received(channel: number): number {
    return channel === 0 ? 0 : (channel ^ FROM_PEER) >>> 0;
  }

  /**
   * The number that a port would get as the `nth` of a message, from 0.
   *
   * Errors: SmcError EINVAL when too many are open.
   */
  numberFor(nth: number): number {
    if (this.#ports.size + nth >= this.#limit)
      throw new SmcError("EINVAL", `more than ${this.#limit} ports at a time`, { maxPorts: this.#limit });
    return this.#ownLast + 1 + nth;
  }

  /** These ports went away, under the numbers that numberFor gave them. */
  sent(ports: Iterable<MessagePort>): void {
    for (const port of ports) this.#bridge(++this.#ownLast, port);
  }

  /**
   * The port for a number that stood in a message of the other end.
   *
   * Errors: SmcError EPROTO for a number that is not the next one, or one channel too many.
   */
  arrived(number: number): MessagePort {
    if (number !== this.#peerLast + 1 || this.#ports.size >= this.#limit)
      throw new SmcError("EPROTO", `port ${number} after ${this.#peerLast}, with ${this.#ports.size} open`, {
        number,
        maxPorts: this.#limit,
      });
    this.#peerLast = number;
    const { port1, port2 } = new MessageChannel();
    this.#bridge((number | FROM_PEER) >>> 0, port1);
    return port2;
  }

  /**
   * Posts what came for a channel; what comes for one that was closed meanwhile is dropped.
   *
   * Takes:  ports, those in the message.
   * Errors: SmcError EPROTO for a channel that never was.
   */
  deliver(channel: number, message: unknown, ports: readonly MessagePort[]): void {
    this.#existing(channel)?.postMessage(message, ports);
  }

  /** The other end has closed a channel. Errors: as deliver. */
  close(channel: number): void {
    const port = this.#existing(channel);
    this.#ports.delete(channel);
    port?.close();
  }

  /** The socket is gone. */
  closeAll(): void {
    for (const channel of [...this.#ports.keys()]) this.close(channel);
  }

  #existing(channel: number): MessagePort | undefined {
    const isFromPeer = channel >= FROM_PEER;
    const number = isFromPeer ? channel - FROM_PEER : channel;
    if (number === 0 || number > (isFromPeer ? this.#peerLast : this.#ownLast))
      throw new SmcError("EPROTO", `a message for channel ${number}, which never was`, { number });
    return this.#ports.get(channel);
  }

  #bridge(channel: number, port: MessagePort): void {
    this.#ports.set(channel, port);
    port.on("message", (message: unknown) => this.#events.message(channel, message));
    port.on("close", () => {
      if (this.#ports.delete(channel)) this.#events.closed(channel);
    });
    // The socket decides how long the process lives.
    port.unref();
  }
}
