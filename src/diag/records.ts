/**
 * Plain data about sockets and devices: what `smcss` knows of one, and what is there to be used. Source: smc-protocol §11.2.
 */

/** A position in a ring: wrap counter and byte offset. */
export interface CursorRecord {
  readonly wrap: number;
  readonly count: number;
}

/** The inside of one connection, for `ss -d`. Cursors `tx*` lie in the peer's ring, `rx*` are as received from it. */
export interface ConnRecord {
  /** Connection token, 32 bits. */
  readonly token: number;
  readonly sndbufBytes: number;
  readonly rmbeBytes: number;
  readonly peerRmbeBytes: number;
  readonly rxProd: CursorRecord;
  readonly rxCons: CursorRecord;
  readonly rxProducerFlags: number;
  readonly rxStateFlags: number;
  readonly txProd: CursorRecord;
  readonly txCons: CursorRecord;
  readonly txProducerFlags: number;
  readonly txStateFlags: number;
  readonly txPrep: CursorRecord;
  readonly txSent: CursorRecord;
  readonly txFin: CursorRecord;
}

/** SMC-D's names of one connection, for `ss -D`. 64-bit values as 16 hexadecimal digits. */
export interface DmbRecord {
  readonly gid: string;
  readonly token: string;
  readonly peerGid: string;
  readonly peerToken: string;
  readonly linkId: number;
}

export interface AddressRecord {
  readonly address: string;
  readonly port: number;
}

/** One socket, plain data. What a state does not have yet or any more is left out. */
export interface SocketRecord {
  /** As printed: ACTIVE, LISTEN, … (conn/states.ts). */
  readonly state: string;
  readonly uid: number;
  readonly inode: number;
  readonly local: AddressRecord;
  readonly peer?: AddressRecord;
  readonly mode: "SMCD" | "SMCR" | "TCP";
  /** Why a TCP socket is one: own reason, and the diagnosis of the peer's Decline if there was one. */
  readonly fallback?: { readonly code: number; readonly peerDiagnosis?: number };
  readonly shutdown: { readonly receive: boolean; readonly send: boolean };
  readonly conn?: ConnRecord;
  readonly dmb?: DmbRecord;
}

/** A device of this thread, or why it is not there. GIDs in hexadecimal. */
export interface DeviceRecord {
  readonly name: string;
  readonly gid?: string;
  readonly gidExt?: string;
  readonly chid?: number;
  readonly reason?: string;
}

/** The shared context with one peer. Numbers and GIDs as the field's tools print them. */
export interface LinkGroupRecord {
  readonly id: number;
  readonly device: string;
  readonly peerGid: string;
  /** CLC version it was met through. */
  readonly version: 1 | 2;
  readonly connections: number;
}

/** Which connections of a thread may use SMC. */
export interface PolicyRecord {
  readonly enabled: boolean;
  readonly only: readonly string[];
  readonly except: readonly string[];
  /** Whether a function of the program has a say as well. */
  readonly hook: boolean;
}
