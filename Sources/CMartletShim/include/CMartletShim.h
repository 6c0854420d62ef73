// What Swift cannot say: instructions, macros and calls that Glibc's module map leaves out.
#ifndef C_MARTLET_SHIM_H
#define C_MARTLET_SHIM_H

#include "martlet_crc32c.h"
#include "martlet_syscalls.h"

#endif
