/**
 * Devices, offers and endpoints for the handshake tests, and the bookkeeping to walk a machine through events.
 *
 * Owns fixtures only.
 */
import * as assert from "uvu/assert";
import type { Agreement, LocalDevice, LocalEndpoint, LocalOffer } from "../../src/clc/agreement.js";
import { type ClientEvent, clientHandshake, reduceClient } from "../../src/clc/client.js";
import { reduceServer, type ServerEvent, serverHandshake } from "../../src/clc/server.js";
import { type ClcMessage, decodeClc } from "../../src/wire/clc.js";

export const PEER_ID = Uint8Array.of(0xa6, 0x56, 0, 0x16, 0x3e, 0x0c, 0xcb, 4);
export const LOOPBACK = { ipv4Network: 0x7f000000, ipv4Length: 8, ipv6: [] };

/** A device that reaches exactly its like. */
export function device(change: Partial<LocalDevice> = {}): LocalDevice {
  const own = { name: "lo", kind: "D" as const, gid: 0x11n, gidExt: 0x22n, chid: 0xffff, v1: true, ...change };
  return {
    reaches: (gid, gidExt) => gid === own.gid && (gidExt === undefined || gidExt === own.gidExt),
    ...own,
  };
}

export const nativeDevice = (chid: number, change: Partial<LocalDevice> = {}): LocalDevice =>
  device({ name: `ism${chid}`, gid: BigInt(chid), gidExt: 0n, chid, v1: false, ...change });

export function offer(change: Partial<LocalOffer> = {}): LocalOffer {
  return {
    devices: [device()],
    ueids: ["SMCNET"],
    version: 2,
    peerId: PEER_ID,
    prefixes: LOOPBACK,
    hostName: "node-1",
    ...change,
  };
}

export const endpoint = (change: Partial<LocalEndpoint> = {}): LocalEndpoint => ({
  token: 0xa1a2a3a4a5a6a7a8n,
  dmbeSize: 2,
  linkId: 0x100,
  firstContact: true,
  ...change,
});

interface AnyAction {
  readonly type: string;
}

/** A machine under way: `on` feeds events and collects what is asked for, `sent` decodes what was sent. */
class Walk<S extends { readonly name: string }, E, A extends AnyAction> {
  actions: A[] = [];
  constructor(
    readonly reduce: (state: S, event: E) => { readonly state: S; readonly actions: readonly A[] },
    public state: S,
  ) {}

  on(...events: E[]): this {
    for (const event of events) {
      const step = this.reduce(this.state, event);
      this.state = step.state;
      this.actions.push(...step.actions);
    }
    return this;
  }

  /** Types of the actions so far, in order. */
  get trail(): string {
    return this.actions.map(({ type }) => type).join(" ");
  }

  /** The last action, of this type. */
  last<T extends A["type"]>(type: T): Extract<A, { readonly type: T }> {
    const action = this.actions.at(-1);
    assert.is(action?.type, type, this.trail);
    return action as unknown as Extract<A, { readonly type: T }>;
  }

  get sent(): ClcMessage[] {
    return this.sentBytes.map((bytes) => decodeClc(bytes));
  }

  get sentBytes(): Uint8Array[] {
    return this.actions.flatMap((action) => ("bytes" in action ? [action.bytes as Uint8Array] : []));
  }

  /** The error that ended the machine. */
  get failure(): Error & { readonly code?: string } {
    return (this.last("fail") as unknown as { readonly error: Error }).error;
  }

  get agreement(): Agreement {
    const agreed = this.actions.find(({ type }) => type === "agreed");
    assert.ok(agreed, this.trail);
    return (agreed as unknown as { readonly agreement: Agreement }).agreement;
  }
}

export const client = (local: LocalOffer = offer()) => new Walk(reduceClient, clientHandshake(local));
export const server = (local: LocalOffer = offer()) => new Walk(reduceServer, serverHandshake(local));

export const message = (bytes: Uint8Array): ClientEvent & ServerEvent => ({ type: "message", bytes });
