/* What both vector kernels share: streams of random bits, exponential waits, counting of lanes. */
#include <immintrin.h>
#include <stdint.h>

#ifndef WIDE
#define WIDE 2 /* vectors in flight */
#endif
#define PENDING 4096

typedef struct {
    __m512i a, b, c, d;
} Stream;

static uint64_t mixed(uint64_t *x) {
    uint64_t z = (*x += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static __m512i seeded(uint64_t *seed) {
    uint32_t words[16];
    for (int k = 0; k < 16; k++) words[k] = (uint32_t)(mixed(seed) >> 32);
    return _mm512_loadu_si512(words);
}

/* xoshiro128++ (Blackman & Vigna 2021), one stream in each lane */
static inline __m512i draw(Stream *s) {
    __m512i out = _mm512_add_epi32(_mm512_rol_epi32(_mm512_add_epi32(s->a, s->d), 7), s->a);
    __m512i t = _mm512_slli_epi32(s->b, 9);
    __m512i c = _mm512_xor_si512(s->c, s->a), d = _mm512_xor_si512(s->d, s->b);
    s->b = _mm512_xor_si512(s->b, c);
    s->a = _mm512_xor_si512(s->a, d);
    s->c = _mm512_xor_si512(c, t);
    s->d = _mm512_rol_epi32(d, 11);
    return out;
}

/* -log of a uniform made of 32 bits; the mantissa is taken in [0.75, 1.5) */
static inline __m512 exponential(__m512i bits, const __m512 p[7]) {
    __m512 u = _mm512_fmadd_ps(_mm512_cvtepu32_ps(bits), _mm512_set1_ps(0x1p-32f),
                               _mm512_set1_ps(0x1p-33f));
    __m512 m = _mm512_getmant_ps(u, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
    __m512 e = _mm512_sub_ps(_mm512_getexp_ps(u), _mm512_getexp_ps(m));
    __m512 r = _mm512_sub_ps(m, _mm512_set1_ps(1.0f)), q = p[6];
    for (int k = 5; k >= 0; k--) q = _mm512_fmadd_ps(q, r, p[k]);
    __m512 square = _mm512_mul_ps(r, r);
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(-0.5f));
    __m512 low = _mm512_fmadd_ps(square, q, r);
    return _mm512_fnmsub_ps(e, _mm512_set1_ps(0.693147180559945f), low);
}

/* the first `keep` lanes of a mask */
static __mmask16 lowest(__mmask16 mask, int64_t keep) {
    __mmask16 out = 0;
    for (int k = 0; k < 16 && keep > 0; k++)
        if (mask >> k & 1) {
            out |= (__mmask16)(1u << k);
            keep--;
        }
    return out;
}
