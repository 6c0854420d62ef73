#include "martlet_crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

enum { UNKNOWN = 0, NOTHING = 1, CRC_ONLY = 2, CRC_AND_MULTIPLY = 3 };

// Asked once; a race of two first callers writes the same answer twice.
static int support(void) {
    static int known = UNKNOWN;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer != UNKNOWN) return answer;
    unsigned int eax, ebx, ecx, edx;
    answer = NOTHING;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_SSE4_2) != 0)
        answer = (ecx & bit_PCLMUL) != 0 ? CRC_AND_MULTIPLY : CRC_ONLY;
    __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    return answer;
}

int martlet_crc32c_available(void) { return support() != NOTHING; }

static inline uint64_t word_at(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

__attribute__((target("sse4.2"))) static uint32_t
one_stream(uint64_t state, const unsigned char *p, size_t length) {
    while (length >= 8) {
        state = _mm_crc32_u64(state, word_at(p));
        p += 8;
        length -= 8;
    }
    uint32_t low = (uint32_t)state;
    while (length--) low = _mm_crc32_u8(low, *p++);
    return low;
}

// The instruction takes three cycles, and one can start every cycle: three independent streams keep it
// busy. A block is three stretches of STRIDE bytes and a last word. The first two states are moved over
// the bytes that follow them by a carry-less multiplication with x^(8 * bytes - 33) modulo the
// polynomial, and the products are mixed into that last word, which reduces them.
#define STRIDE_LONG 1360
#define STRIDE_SHORT 128
#define BLOCK(stride) (3 * (stride) + 8)

__attribute__((target("sse4.2,pclmul"))) static inline __attribute__((always_inline)) uint64_t
block(uint64_t state, const unsigned char *p, size_t stride, uint32_t over_two, uint32_t over_one) {
    uint64_t second = 0, third = 0;
    const unsigned char *end = p + stride;
    do {
        state = _mm_crc32_u64(state, word_at(p));
        second = _mm_crc32_u64(second, word_at(p + stride));
        third = _mm_crc32_u64(third, word_at(p + 2 * stride));
        p += 8;
    } while (p < end);
    __m128i factors = _mm_set_epi64x(over_one, over_two);
    __m128i states = _mm_set_epi64x((long long)second, (long long)state);
    __m128i moved = _mm_xor_si128(
        _mm_clmulepi64_si128(states, factors, 0x00), _mm_clmulepi64_si128(states, factors, 0x11));
    uint64_t last = word_at(p + 2 * stride) ^ (uint64_t)_mm_cvtsi128_si64(moved);
    return _mm_crc32_u64(third, last);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
three_streams(uint64_t state, const unsigned char *p, size_t length) {
    while (length >= BLOCK(STRIDE_LONG)) {
        state = block(state, p, STRIDE_LONG, 0x7B454CB3, 0x79113270);
        p += BLOCK(STRIDE_LONG);
        length -= BLOCK(STRIDE_LONG);
    }
    while (length >= BLOCK(STRIDE_SHORT)) {
        state = block(state, p, STRIDE_SHORT, 0xDCB17AA4, 0x6992CEA2);
        p += BLOCK(STRIDE_SHORT);
        length -= BLOCK(STRIDE_SHORT);
    }
    return one_stream(state, p, length);
}

uint32_t martlet_crc32c(uint32_t crc, const void *data, size_t length) {
    uint32_t state = ~crc;
    if (length < BLOCK(STRIDE_SHORT) || support() != CRC_AND_MULTIPLY)
        return ~one_stream(state, data, length);
    return ~three_streams(state, data, length);
}

#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

int martlet_crc32c_available(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

__attribute__((target("+crc"))) uint32_t
martlet_crc32c(uint32_t crc, const void *data, size_t length) {
    const unsigned char *p = data;
    uint32_t state = ~crc;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        state = __crc32cd(state, word);
        p += 8;
        length -= 8;
    }
    while (length--) state = __crc32cb(state, *p++);
    return ~state;
}

#else
int martlet_crc32c_available(void) { return 0; }
uint32_t martlet_crc32c(uint32_t crc, const void *data, size_t length) {
    (void)data;
    (void)length;
    return crc;
}
#endif
