/**
 * Link groups: the shared context of this stack with one peer on one device.
 *
 * Owns the table and first contact. A server reuses a group once its first connection is confirmed; until then others make
 * first contact as well, so that it never counts on a group that the client does not know. A stack is both: what it knows as a
 * client, its peer may know better. Source: smc-protocol §6.1-6.2.
 */

/** Idle groups are reused for so long, and known for longer: whose idle time began later may reuse it still. Source: smc-protocol §3.6. */
const REUSED_FOR_MS = 600_000;
const KNOWN_FOR_MS = 610_000;

/** Ids step by 256, so that link ids can occupy the last byte. */
const ID_STEP = 256;

export interface LinkGroup {
  readonly id: number;
  readonly device: string;
  readonly peerGid: bigint;
  /** Undefined when met through CLC version 1. */
  readonly peerGidExt: bigint | undefined;
  readonly version: 1 | 2;
  /** Connections now in it. */
  connections: number;
  /** Its first connection is confirmed. */
  established: boolean;
  /** Time of the last departure, ms. */
  idleSince: number;
}

/** Whether it is a group with this peer. */
const isOf = (group: LinkGroup, device: string, peerGid: bigint, peerGidExt: bigint | undefined): boolean =>
  group.device === device && group.peerGid === peerGid && group.peerGidExt === peerGidExt;

export class LinkGroups {
  #groups: LinkGroup[] = [];
  #nextId = ID_STEP;

  /** Groups in use or still remembered. */
  list(): readonly LinkGroup[] {
    this.#forgetOld();
    return this.#groups;
  }

  /** As a server: the group to reuse for a peer, if there is one. */
  find(device: string, peerGid: bigint, peerGidExt: bigint | undefined): LinkGroup | undefined {
    const since = Date.now() - REUSED_FOR_MS;
    for (const group of this.#groups) {
      if (!isOf(group, device, peerGid, peerGidExt) || !group.established) continue;
      if (group.connections > 0 || group.idleSince > since) return group;
    }
    return undefined;
  }

  /**
   * As a client: the group that the peer means when it makes no first contact.
   *
   * That may be one that we made as its server and that nobody has confirmed here: the peer is live on it since it sent its
   * Confirm, which is on its way on another TCP connection.
   */
  meant(device: string, peerGid: bigint, peerGidExt: bigint | undefined): LinkGroup | undefined {
    const since = Date.now() - KNOWN_FOR_MS;
    let unconfirmed: LinkGroup | undefined;
    for (const group of this.#groups) {
      if (!isOf(group, device, peerGid, peerGidExt)) continue;
      if (group.connections === 0 && group.idleSince <= since) continue;
      if (group.established) return group;
      unconfirmed ??= group;
    }
    return unconfirmed;
  }

  #forgetOld(): void {
    const since = Date.now() - KNOWN_FOR_MS;
    this.#groups = this.#groups.filter(({ connections, idleSince }) => connections > 0 || idleSince > since);
  }

  /** A fresh group: first contact. */
  create(device: string, peerGid: bigint, peerGidExt: bigint | undefined, version: 1 | 2): LinkGroup {
    this.#forgetOld();
    const id = this.#nextId;
    this.#nextId = (this.#nextId + ID_STEP) >>> 0 || ID_STEP;
    const group = {
      id,
      device,
      peerGid,
      peerGidExt,
      version,
      connections: 0,
      established: false,
      idleSince: Date.now(),
    };
    this.#groups.push(group);
    return group;
  }

  /** A connection joins. */
  join(group: LinkGroup): void {
    group.connections++;
  }

  /** A connection leaves; a group whose first contact failed goes at once. */
  leave(group: LinkGroup): void {
    group.connections--;
    group.idleSince = Date.now();
    if (group.connections === 0 && !group.established) this.drop(group);
  }

  /** Forgets a group: first contact failed, or the peer says that it does not know it. */
  drop(group: LinkGroup): void {
    this.#groups = this.#groups.filter((other) => other !== group);
  }
}
