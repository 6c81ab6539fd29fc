/** The integer types of AssemblyScript as the host sees them: lets `assembly/shared/*.ts` compile for both planes. */
type u32 = number;
type i32 = number;
