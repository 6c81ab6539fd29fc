/**
 * What this thread's sockets look like right now, as plain data for `smcss` tables.
 *
 * Reads the stack and the process's active handles; changes nothing. Values may be stale as soon as they are returned.
 */
import { fstatSync } from "node:fs";
import { Server, Socket } from "node:net";
import {
  CONN_LOCAL_SIZE,
  CONN_PEER_SIZE,
  CONN_RX_CONS,
  CONN_RX_FLAGS,
  CONN_RX_PROD,
  CONN_SND_SIZE,
  CONN_TX_CONS,
  CONN_TX_FLAGS,
  CONN_TX_PREP,
  CONN_TX_SENT,
} from "../../assembly/shared/layout.js";
import type { Connection } from "../conn/connection.js";
import { SOCKET_STATES } from "../conn/states.js";
import type { Abi } from "../engine/abi.js";
import type { Stack } from "../stack.js";
import type { AddressRecord, CursorRecord, DeviceRecord, LinkGroupRecord, SocketRecord } from "./records.js";

const NO_ADDRESS: AddressRecord = { address: "0.0.0.0", port: 0 };
const hex = (value: bigint): string => value.toString(16).padStart(16, "0");
const uid = (): number => process.getuid?.() ?? 0;

function inode(descriptor: number): number {
  try {
    return descriptor < 0 ? 0 : fstatSync(descriptor).ino;
  } catch {
    return 0;
  }
}

/** A cursor of a connection block: wrap u16 | count u32 << 16 over two words. */
function cursor(abi: Abi, conn: number, offset: number): CursorRecord {
  const low = abi.connPeek(conn, offset) >>> 0;
  const high = abi.connPeek(conn, offset + 4) >>> 0;
  return { wrap: low & 0xffff, count: ((high << 16) | (low >>> 16)) >>> 0 };
}

/** One connection carried by SMC. */
function smcdRecord(abi: Abi, connection: Connection): SocketRecord {
  const { conn } = connection.place;
  const { info } = connection;
  const peek = (offset: number): number => abi.connPeek(conn, offset) >>> 0;
  const rxFlags = peek(CONN_RX_FLAGS);
  const txFlags = peek(CONN_TX_FLAGS);
  return {
    state: SOCKET_STATES[connection.state].printed,
    uid: uid(),
    inode: inode(info.clcSocket.fd),
    local: info.clcSocket.local ?? NO_ADDRESS,
    peer: info.clcSocket.peer ?? NO_ADDRESS,
    mode: "SMCD",
    shutdown: { receive: connection.endDelivered, send: connection.writingShut },
    conn: {
      token: Number(info.token & 0xffffffffn),
      sndbufBytes: peek(CONN_SND_SIZE),
      rmbeBytes: peek(CONN_LOCAL_SIZE),
      peerRmbeBytes: peek(CONN_PEER_SIZE),
      rxProd: cursor(abi, conn, CONN_RX_PROD),
      rxCons: cursor(abi, conn, CONN_RX_CONS),
      rxProducerFlags: rxFlags & 0xff,
      rxStateFlags: rxFlags >>> 8,
      txProd: cursor(abi, conn, CONN_TX_SENT),
      txCons: cursor(abi, conn, CONN_TX_CONS),
      txProducerFlags: txFlags & 0xff,
      txStateFlags: txFlags >>> 8,
      txPrep: cursor(abi, conn, CONN_TX_PREP),
      txSent: cursor(abi, conn, CONN_TX_SENT),
      txFin: cursor(abi, conn, CONN_TX_CONS),
    },
    dmb: {
      gid: hex(info.gid),
      token: hex(info.token),
      peerGid: hex(info.peerGid),
      peerToken: hex(info.peerToken),
      linkId: info.linkGroup,
    },
  };
}

interface WithSmc {
  readonly smc?: { readonly mode: string; readonly fallback?: { code: number; peerDiagnosis?: number } };
}

/** A socket that went on as TCP. */
function tcpRecord(socket: Socket, fallback: { code: number; peerDiagnosis?: number }): SocketRecord {
  const { localAddress, localPort, remoteAddress, remotePort, writableEnded, readableEnded } = socket;
  return {
    state: "ACTIVE",
    uid: uid(),
    inode: inode((socket as unknown as { _handle?: { fd: number } })._handle?.fd ?? -1),
    local: { address: localAddress ?? "", port: localPort ?? 0 },
    peer: { address: remoteAddress ?? "", port: remotePort ?? 0 },
    mode: "TCP",
    fallback,
    shutdown: { receive: readableEnded, send: writableEnded },
  };
}

function listenRecord(server: Server): SocketRecord | undefined {
  const address = server.address();
  if (address === null || typeof address === "string") return undefined;
  return {
    state: "LISTEN",
    uid: uid(),
    inode: inode((server as unknown as { _handle?: { fd: number } })._handle?.fd ?? -1),
    local: address,
    mode: "SMCD",
    shutdown: { receive: false, send: false },
  };
}

/** Handles that keep this thread alive, as Node lists them: sockets and servers among them. */
function activeHandles(): unknown[] {
  return (process as unknown as { _getActiveHandles?: () => unknown[] })._getActiveHandles?.() ?? [];
}

/** All sockets of this thread that smcnet knows: carried by SMC, gone on as TCP, listening. */
export function socketRecords(stack: Stack, isListener: (server: Server) => boolean): SocketRecord[] {
  const records = stack.connections().map((connection) => smcdRecord(stack.abi, connection));
  for (const handle of new Set(activeHandles())) {
    if (handle instanceof Server && isListener(handle)) {
      const record = listenRecord(handle);
      if (record !== undefined) records.unshift(record);
    } else if (handle instanceof Socket) {
      const { smc } = handle as WithSmc;
      if (smc?.mode === "TCP" && smc.fallback !== undefined && handle.remotePort !== undefined)
        records.push(tcpRecord(handle, smc.fallback));
    }
  }
  return records;
}

/** The devices of this thread, those that are absent with their reason. */
export function deviceRecords({ devices, shmReason }: Stack): DeviceRecord[] {
  const present = devices.map(({ name, gid, gidExt, chid }): DeviceRecord => {
    return { name, gid: hex(gid), gidExt: hex(gidExt), chid };
  });
  return shmReason === undefined ? present : [...present, { name: "shm", reason: shmReason }];
}

/** The link groups of this thread: in use, or remembered. */
export function linkGroupRecords({ linkGroups }: Stack): LinkGroupRecord[] {
  return linkGroups.list().map(({ id, device, peerGid, version, connections }) => {
    return { id, device, peerGid: hex(peerGid), version, connections };
  });
}
