/**
 * Building a connection while its handshake runs: slot, buffers, link group; and taking it all back if it fails.
 *
 * Owns what has been taken so far. Order as in smc-protocol §5.7: own DMB first, the peer's attached before Confirm.
 */
import type { Agreement, LocalEndpoint } from "../clc/agreement.js";
import type { SmcOptions } from "../config.js";
import { Connection, type ConnectionOwner } from "../conn/connection.js";
import type { ConnectionTerms } from "../conn/terms.js";
import type { RegisteredDmb, SmcdDevice, SmcdPath } from "../device/device.js";
import { SMALLEST_DMB, sizeClassFor } from "../device/dmb-size.js";
import { sizeBin } from "../diag/counters.js";
import type { LinkGroup } from "../lgr/link-group.js";
import type { Stack } from "../stack.js";
import { DIAGNOSIS } from "../wire/clc-diagnosis.js";

/** The peer as far as a link group is concerned. */
interface GroupPeer {
  readonly gid: bigint;
  readonly gidExt: bigint | undefined;
  readonly version: 1 | 2;
}

export class Establishment {
  readonly #stack: Stack;
  readonly #options: SmcOptions;
  #slot = -1;
  #conn = 0;
  #device: SmcdDevice | undefined;
  #path: SmcdPath | undefined;
  #local: RegisteredDmb | undefined;
  #peerDmb = -1;
  #sndDmb = -1;
  #group: LinkGroup | undefined;

  constructor(stack: Stack, options: SmcOptions) {
    this.#stack = stack;
    this.#options = options;
  }

  /** Server: own buffer and link group, first contact if there is none. A diagnosis where it cannot be. */
  register(device: string, peer: GroupPeer): LocalEndpoint | number {
    const { linkGroups } = this.#stack;
    const known = linkGroups.find(device, peer.gid, peer.gidExt);
    const group = known ?? linkGroups.create(device, peer.gid, peer.gidExt, peer.version);
    return this.#takeLocal(group, known === undefined);
  }

  /** Client: link group as the Accept says, own buffer, then the peer's. A diagnosis where it cannot be. */
  registerAndAttach(
    device: string,
    peer: GroupPeer & { firstContact: boolean; token: bigint },
  ): LocalEndpoint | number {
    const { linkGroups } = this.#stack;
    const group = peer.firstContact
      ? linkGroups.create(device, peer.gid, peer.gidExt, peer.version)
      : linkGroups.meant(device, peer.gid, peer.gidExt);
    if (group === undefined) return DIAGNOSIS.SYNCERR.code;
    const local = this.#takeLocal(group, peer.firstContact);
    if (typeof local === "number") return local;
    return this.attach(peer.token) ? local : DIAGNOSIS.MEM.code;
  }

  #takeLocal(group: LinkGroup, firstContact: boolean): LocalEndpoint | number {
    const stack = this.#stack;
    this.#group = group;
    stack.linkGroups.join(group);
    this.#device = stack.devices.find(({ name }) => name === group.device);
    const path = this.#device?.toward(group.peerGid, group.peerGidExt);
    if (path === undefined) return DIAGNOSIS.NOSMCD2DEV.code;
    if (path.full) return DIAGNOSIS.MAX_DMB.code;
    path.hold(1);
    this.#path = path;
    const slot = stack.takeSlot();
    if (slot === undefined) return DIAGNOSIS.MAX_DMB.code;
    this.#slot = slot;
    const local = path.register(slot, this.#options.rmem);
    if (local === undefined) return DIAGNOSIS.MEM.code;
    this.#local = local;
    this.#conn = stack.abi.connOpen(stack.slot, slot, local.index);
    if (this.#conn === 0) return DIAGNOSIS.INTERR.code;
    const bytes = SMALLEST_DMB << local.sizeClass;
    stack.counters.rxAllocated++;
    stack.counters.rxBuffers[sizeBin(bytes)]!++;
    stack.counters.rxInUse += bytes;
    if (local.sizeClass < sizeClassFor(this.#options.rmem)) stack.counters.rxDowngraded++;
    if (!this.#takeSndbuf()) return DIAGNOSIS.MEM.code;
    return { token: local.token, dmbeSize: local.sizeClass, linkId: group.id, firstContact };
  }

  /**
   * In copy mode, a private send buffer. With this side's own: once the client has confirmed, it takes SMC for agreed, and a
   * server that found no memory then could not decline any more.
   */
  #takeSndbuf(): boolean {
    const { lo, counters } = this.#stack;
    if (!this.#options.loCopy) return true;
    // Nobody else sees a private send buffer: it lies in the arena whatever the device.
    const snd = lo.register(this.#slot, this.#options.wmem);
    if (snd === undefined) return false;
    this.#sndDmb = snd.index;
    if (snd.sizeClass < sizeClassFor(this.#options.wmem)) counters.txDowngraded++;
    return true;
  }

  /** Attaches the peer's buffer. */
  attach(token: bigint): boolean {
    const { abi, slot, counters } = this.#stack;
    const peerDmb = this.#path?.attach(token);
    if (peerDmb === undefined) return false;
    this.#peerDmb = peerDmb;
    const { box } = this.#path!.peerOf(peerDmb);
    if (abi.connAttach(slot, this.#conn, peerDmb, this.#sndDmb, box) !== 0) return false;
    const bytes = abi.dmbLength(this.#sndDmb >= 0 ? this.#sndDmb : peerDmb);
    counters.txAllocated++;
    counters.txBuffers[sizeBin(bytes)]!++;
    counters.txInUse += bytes;
    return true;
  }

  /** The connection, live from here on. */
  connect(agreement: Agreement, owner: ConnectionOwner): Connection {
    const { abi, counters } = this.#stack;
    const { role, peer, local } = agreement;
    const group = this.#group!;
    group.established = true;
    const nocopy = this.#sndDmb < 0;
    const peerBufSize = abi.dmbLength(this.#peerDmb);
    const terms: ConnectionTerms = {
      role,
      sndbufSize: nocopy ? peerBufSize : abi.dmbLength(this.#sndDmb),
      rcvbufSize: abi.dmbLength(this.#local!.index),
      peerBufSize,
      gid: this.#device!.gid,
      token: local.token,
      peerToken: peer.token,
      group,
    };
    if (role === "client") counters[peer.version === 1 ? "clientV1" : "clientV2"]++;
    else counters[peer.version === 1 ? "serverV1" : "serverV2"]++;
    const place = {
      slot: this.#slot,
      conn: this.#conn,
      localDmb: this.#local!.index,
      peerDmb: this.#peerDmb,
      sndDmb: this.#sndDmb,
      peer: this.#path!.peerOf(this.#peerDmb),
    };
    const connection = new Connection(this.#stack, place, terms, owner);
    this.#stack.connect(connection);
    return connection;
  }

  /** The handshake failed: everything taken goes back. */
  abandon(outOfSync: boolean): void {
    const { linkGroups, counters } = this.#stack;
    const peer = this.#peerDmb >= 0 ? this.#path!.peerOf(this.#peerDmb) : undefined;
    this.#stack.giveBack({ localDmb: this.#local?.index ?? -1, peerDmb: this.#peerDmb, sndDmb: this.#sndDmb, peer });
    if (this.#local !== undefined) counters.rxInUse -= SMALLEST_DMB << this.#local.sizeClass;
    if (this.#slot >= 0) this.#stack.dropSlot(this.#slot);
    this.#path?.hold(-1);
    if (this.#group !== undefined) {
      linkGroups.leave(this.#group);
      if (outOfSync) linkGroups.drop(this.#group);
    }
  }
}
