// CRC-32C (Castagnoli, RFC 3720 appendix B.4) by the processor's own instruction.
#ifndef MARTLET_CRC32C_H
#define MARTLET_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/// Returns non-zero when this processor has the instruction.
int martlet_crc32c_available(void);

/// Continues `crc` (0 to begin) over `length` bytes. Only call when available.
uint32_t martlet_crc32c(uint32_t crc, const void *data, size_t length);

#endif
