/* The same kernel made for this job alone: 2 windows x 8 states and up to 4 exits live in vector
   registers and are read by permutation, and only changes of the open count are recorded. */
#include "lanes.h"

typedef struct {
    const float *wait_s;     /* [16] mean time in (window, state) */
    const float *stop_s;     /* [16] end of the window */
    const float *after_s;    /* [16] where the clock stands once the window is over */
    const int32_t *after;    /* [16] (window, state) then */
    const uint32_t *limit;   /* [3][16] thresholds on 32 bits */
    const uint32_t *targets; /* [16] four target states, 8 bits each */
    const float *logarithm;  /* [7] polynomial P of log(1 + r) = r - r^2 / 2 + r^3 P(r) */
    uint32_t open;           /* bit s: state s conducts, in both windows */
    int32_t start;
    float per_step;
} Tables;

static void flush(const uint32_t *pending, int count, int64_t *change) {
    for (int k = 0; k < count; k++) change[pending[k] >> 1] += (int)(pending[k] & 1) * 2 - 1;
}

/* change [steps + 2]: difference histogram of the open count. Returns state changes. */
int64_t simulate(uint64_t seed, int64_t n, const Tables *tables, int64_t *change) {
    const __m512 wait_s = _mm512_loadu_ps(tables->wait_s), stop_s = _mm512_loadu_ps(tables->stop_s);
    const __m512 after_s = _mm512_loadu_ps(tables->after_s);
    const __m512i after = _mm512_loadu_si512(tables->after);
    const __m512i limit0 = _mm512_loadu_si512(tables->limit);
    const __m512i limit1 = _mm512_loadu_si512(tables->limit + 16);
    const __m512i limit2 = _mm512_loadu_si512(tables->limit + 32);
    const __m512i targets = _mm512_loadu_si512(tables->targets);
    const __m512i open = _mm512_set1_epi32((int)tables->open), one = _mm512_set1_epi32(1);
    const __m512i seven = _mm512_set1_epi32(7), eight = _mm512_set1_epi32(8);
    const __m512 per_step = _mm512_set1_ps(tables->per_step);
    __m512 p[7], t[WIDE];
    __m512i at[WIDE];
    __mmask16 busy[WIDE];
    Stream streams[WIDE];
    uint32_t pending[PENDING + 16 * WIDE];
    int64_t started = 0, events = 0;
    int waiting = 0;
    uint32_t alive = 0;
    for (int k = 0; k < 7; k++) p[k] = _mm512_set1_ps(tables->logarithm[k]);
    for (int v = 0; v < WIDE; v++) {
        streams[v] = (Stream){seeded(&seed), seeded(&seed), seeded(&seed), seeded(&seed)};
        t[v] = _mm512_setzero_ps();
        at[v] = _mm512_set1_epi32(tables->start);
        busy[v] = lowest(0xFFFF, n - started);
        started += __builtin_popcount(busy[v]);
        alive |= busy[v];
    }
    while (alive) {
        alive = 0;
#pragma GCC unroll 8
        for (int v = 0; v < WIDE; v++) {
            __m512i here = at[v];
            __m512 wait = exponential(draw(&streams[v]), p);
            __m512i bits = draw(&streams[v]);
            __m512 then = _mm512_fmadd_ps(wait, _mm512_permutexvar_ps(here, wait_s), t[v]);
            __mmask16 over = _mm512_cmp_ps_mask(then, _mm512_permutexvar_ps(here, stop_s), _CMP_GE_OQ);
            __m512i shift = _mm512_maskz_mov_epi32(
                _mm512_cmpge_epu32_mask(bits, _mm512_permutexvar_epi32(here, limit0)), eight);
            shift = _mm512_mask_add_epi32(
                shift, _mm512_cmpge_epu32_mask(bits, _mm512_permutexvar_epi32(here, limit1)), shift, eight);
            shift = _mm512_mask_add_epi32(
                shift, _mm512_cmpge_epu32_mask(bits, _mm512_permutexvar_epi32(here, limit2)), shift, eight);
            __m512i next = _mm512_srlv_epi32(_mm512_permutexvar_epi32(here, targets), shift);
            /* bits 0-2: the state, bit 3: the window, which an event leaves alone */
            next = _mm512_ternarylogic_epi32(seven, next, here, 0xCA);
            next = _mm512_and_si512(next, _mm512_set1_epi32(15));
            __mmask16 jump = busy[v] & (__mmask16)~over;
            __m512i now = _mm512_srlv_epi32(open, next), was = _mm512_srlv_epi32(open, here);
            __mmask16 turned = _mm512_mask_test_epi32_mask(jump, _mm512_xor_si512(now, was), one);
            __m512i slot = _mm512_cvt_roundps_epi32(_mm512_mul_ps(then, per_step),
                                                    _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
            __m512i entry = _mm512_ternarylogic_epi32(one, now, _mm512_slli_epi32(slot, 1), 0xCA);
            _mm512_storeu_si512(pending + waiting, _mm512_maskz_compress_epi32(turned, entry));
            waiting += __builtin_popcount(turned);
            events += __builtin_popcount(jump);
            __mmask16 done = busy[v] & over & _mm512_test_epi32_mask(here, eight);
            at[v] = _mm512_mask_permutexvar_epi32(next, over, here, after);
            t[v] = _mm512_mask_permutexvar_ps(then, over, here, after_s);
            started += __builtin_popcount(done);
            if (__builtin_expect(started > n, 0)) {
                int64_t kept = __builtin_popcount(done) - (started - n);
                busy[v] &= (__mmask16)~done | lowest(done, kept);
                started = n;
            }
            alive |= busy[v];
        }
        if (waiting >= PENDING) {
            flush(pending, waiting, change);
            waiting = 0;
        }
    }
    flush(pending, waiting, change);
    return events;
}
