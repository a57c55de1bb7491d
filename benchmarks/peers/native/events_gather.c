/* AVX-512 reference: exact paths event by event, 16 lanes a vector, WIDE vectors in flight, and a
   lane takes the next channel as soon as its own is done. Any scheme, any number of windows: tables
   are gathered from memory, and every event goes into a histogram over (bin, edge), from which the
   occupancy of every state follows. */
#include "lanes.h"

typedef struct {
    const float *wait_s;    /* [window * state] mean time in the state */
    const float *stop_s;    /* [window] end of the window */
    const uint32_t *limit;  /* [fan - 1][window * state] thresholds on 32 bits */
    const int32_t *edge;    /* [window * state][fan] */
    const int32_t *target;  /* [edge] state */
    const float *logarithm; /* [7] polynomial P of log(1 + r) = r - r^2 / 2 + r^3 P(r) */
    int32_t windows, states, fan, edges, start;
    float per_step;
} Tables;

static void flush(const uint32_t *pending, int count, uint32_t *events) {
    for (int k = 0; k < count; k++) events[pending[k]]++;
}

/* events [steps + 2][edges] */
void simulate(uint64_t seed, int64_t n, const Tables *tables, uint32_t *events) {
    const int fan = tables->fan, rows = tables->windows * tables->states;
    const __m512i states = _mm512_set1_epi32(tables->states), one = _mm512_set1_epi32(1);
    const __m512i wide = _mm512_set1_epi32(fan), edges = _mm512_set1_epi32(tables->edges);
    const __m512i last = _mm512_set1_epi32(tables->windows - 1);
    const __m512i start = _mm512_set1_epi32(tables->start);
    const __m512 per_step = _mm512_set1_ps(tables->per_step);
    __m512 p[7], t[WIDE];
    __m512i state[WIDE], window[WIDE];
    __mmask16 busy[WIDE];
    Stream streams[WIDE];
    uint32_t pending[PENDING + 16 * WIDE];
    int64_t started = 0;
    int waiting = 0;
    uint32_t alive = 0;
    for (int k = 0; k < 7; k++) p[k] = _mm512_set1_ps(tables->logarithm[k]);
    for (int v = 0; v < WIDE; v++) {
        streams[v] = (Stream){seeded(&seed), seeded(&seed), seeded(&seed), seeded(&seed)};
        t[v] = _mm512_setzero_ps();
        state[v] = start;
        window[v] = _mm512_setzero_si512();
        busy[v] = lowest(0xFFFF, n - started);
        started += __builtin_popcount(busy[v]);
        alive |= busy[v];
    }
    while (alive) {
        alive = 0;
#pragma GCC unroll 8
        for (int v = 0; v < WIDE; v++) {
            __m512i here = _mm512_add_epi32(_mm512_mullo_epi32(window[v], states), state[v]);
            __m512 wait = exponential(draw(&streams[v]), p);
            __m512i bits = draw(&streams[v]);
            __m512 then = _mm512_fmadd_ps(wait, _mm512_i32gather_ps(here, tables->wait_s, 4), t[v]);
            __m512 stop = _mm512_i32gather_ps(window[v], tables->stop_s, 4);
            __mmask16 over = _mm512_cmp_ps_mask(then, stop, _CMP_GE_OQ);
            __m512i pick = _mm512_mullo_epi32(here, wide);
            for (int k = 0; k < fan - 1; k++) {
                __m512i limit = _mm512_i32gather_epi32(here, tables->limit + k * rows, 4);
                pick = _mm512_mask_add_epi32(pick, _mm512_cmpge_epu32_mask(bits, limit), pick, one);
            }
            __m512i edge = _mm512_i32gather_epi32(pick, tables->edge, 4);
            __mmask16 jump = busy[v] & (__mmask16)~over;
            state[v] = _mm512_mask_i32gather_epi32(state[v], jump, edge, tables->target, 4);
            __m512i slot = _mm512_cvt_roundps_epi32(_mm512_mul_ps(then, per_step),
                                                    _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
            __m512i entry = _mm512_add_epi32(_mm512_mullo_epi32(slot, edges), edge);
            _mm512_storeu_si512(pending + waiting, _mm512_maskz_compress_epi32(jump, entry));
            waiting += __builtin_popcount(jump);
            __mmask16 done = busy[v] & over & _mm512_cmpge_epi32_mask(window[v], last);
            window[v] = _mm512_mask_add_epi32(window[v], over, window[v], one);
            t[v] = _mm512_mask_mov_ps(then, over, stop);
            started += __builtin_popcount(done);
            state[v] = _mm512_mask_mov_epi32(state[v], done, start);
            window[v] = _mm512_maskz_mov_epi32((__mmask16)~done, window[v]);
            t[v] = _mm512_maskz_mov_ps((__mmask16)~done, t[v]);
            if (__builtin_expect(started > n, 0)) {
                int64_t kept = __builtin_popcount(done) - (started - n);
                busy[v] &= (__mmask16)~done | lowest(done, kept);
                started = n;
            }
            /* an idle lane must not run past the tables */
            window[v] = _mm512_maskz_mov_epi32(busy[v], window[v]);
            alive |= busy[v];
        }
        if (waiting >= PENDING) {
            flush(pending, waiting, events);
            waiting = 0;
        }
    }
    flush(pending, waiting, events);
}
