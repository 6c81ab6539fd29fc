/**
 * ISM devices as a Proposal lists them: one entry for a native device, two for an emulated one.
 *
 * Owns the two-entry rule of smc-protocol §2.2. Knows nothing of which devices exist or who reaches whom.
 */

/** CHIDs from here on belong to emulated ISM devices, whose GID has 128 bits. */
export const EMULATED_CHID_FIRST = 0xff00;
/** Most entries one Proposal can carry. */
export const ISM_ENTRIES_MAX = 8;

export interface IsmEntry {
  readonly gid: bigint;
  readonly chid: number;
}

/** An ISM device as one thing; `gidExt` is 0 for a native device. */
export interface IsmDevice {
  readonly gid: bigint;
  readonly gidExt: bigint;
  readonly chid: number;
}

export const isEmulated = (chid: number): boolean => chid >= EMULATED_CHID_FIRST;

/** Devices -> entries, in order; what does not fit into the list any more is left out, an emulated device as a whole. */
export function toEntries(devices: readonly IsmDevice[]): IsmEntry[] {
  const entries: IsmEntry[] = [];
  for (const { gid, gidExt, chid } of devices) {
    const own = isEmulated(chid) ? [gid, gidExt] : [gid];
    if (entries.length + own.length > ISM_ENTRIES_MAX) continue;
    for (const part of own) entries.push({ gid: part, chid });
  }
  return entries;
}

/** Entries -> devices, in order; an emulated entry without its second half is skipped. */
export function toDevices(entries: readonly IsmEntry[]): IsmDevice[] {
  const devices: IsmDevice[] = [];
  for (let i = 0; i < entries.length; i++) {
    const { gid, chid } = entries[i];
    if (!isEmulated(chid)) {
      devices.push({ gid, gidExt: 0n, chid });
    } else if (entries[i + 1]?.chid === chid) {
      devices.push({ gid, gidExt: entries[++i].gid, chid });
    }
  }
  return devices;
}
