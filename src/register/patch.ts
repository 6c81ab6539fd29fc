/**
 * Replacing members of objects that are not ours, and taking it back.
 *
 * Owns the table of what is replaced now. Knows nothing of what replaces it.
 */

/** A member to be replaced. */
export interface Patch {
  readonly target: object;
  readonly name: string;
  /** Makes the new method from the old one. */
  make(original: unknown): unknown;
}

/** A getter to be added where there is no such member. */
export interface Addition {
  readonly target: object;
  readonly name: string;
  readonly get: () => unknown;
}

/**
 * Replaces all, or nothing.
 *
 * Returns: what restores them, where nobody else has replaced them since.
 * Errors:  TypeError for a member that is not there, or is no function.
 */
export function replace(patches: readonly (Patch | Addition)[]): () => void {
  const done: {
    readonly target: object;
    readonly name: string;
    before: PropertyDescriptor | undefined;
    now: unknown;
  }[] = [];
  const restore = (): void => {
    for (const { target, name, before, now } of done.splice(0).reverse()) {
      const current = Object.getOwnPropertyDescriptor(target, name);
      if ((current?.value ?? current?.get) !== now) continue;
      if (before === undefined) Reflect.deleteProperty(target, name);
      else Object.defineProperty(target, name, before);
    }
  };
  try {
    for (const patch of patches) {
      const { target, name } = patch;
      const before = Object.getOwnPropertyDescriptor(target, name);
      if ("get" in patch) {
        if (before !== undefined) throw new TypeError(`${name} is there already`);
        Object.defineProperty(target, name, { get: patch.get, configurable: true, enumerable: false });
        done.push({ target, name, before, now: patch.get });
        continue;
      }
      const original: unknown = Reflect.get(target, name);
      if (typeof original !== "function") throw new TypeError(`${name} is no function`);
      const value = patch.make(original);
      Object.defineProperty(target, name, {
        configurable: true,
        writable: true,
        enumerable: before?.enumerable ?? false,
        value,
      });
      done.push({ target, name, before, now: value });
    }
  } catch (error) {
    restore();
    throw error;
  }
  return restore;
}
