/** esbuild's binary loader: a wasm file imported as its bytes. */
declare module "*.wasm" {
  const bytes: Uint8Array;
  export default bytes;
}
