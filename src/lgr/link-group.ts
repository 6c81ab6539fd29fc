/**
 * Link groups: the shared context of this stack with one peer on one device.
 *
 * Owns the table and first contact. A group can be reused once its first connection is confirmed; until then others make
 * first contact as well, so that neither end ever counts on a group the other does not know. Source: smc-protocol §6.1-6.2.
 */

/** Idle groups are forgotten after this long. Source: smc-protocol §3.6. */
const FREE_AFTER_MS = 600_000;

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

export class LinkGroups {
  #groups: LinkGroup[] = [];
  #nextId = ID_STEP;

  /** Groups in use or still remembered. */
  list(): readonly LinkGroup[] {
    return this.#groups;
  }

  /** The group to reuse for a peer, if there is one. */
  find(device: string, peerGid: bigint, peerGidExt: bigint | undefined): LinkGroup | undefined {
    const now = Date.now();
    this.#groups = this.#groups.filter((group) => group.connections > 0 || now - group.idleSince < FREE_AFTER_MS);
    return this.#groups.find(
      (group) =>
        group.established && group.device === device && group.peerGid === peerGid && group.peerGidExt === peerGidExt,
    );
  }

  /** A fresh group: first contact. */
  create(device: string, peerGid: bigint, peerGidExt: bigint | undefined, version: 1 | 2): LinkGroup {
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
