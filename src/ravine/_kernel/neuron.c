/* A linear neuron with one input, at many positions at once, in torch's own bits: its loss, its gradient, and whole
 * runs of SGD from step to step.
 *
 * To have torch's bits is to round where torch rounds, and to add up in torch's order. So it is positions that are
 * worked on side by side: each lane does the very operations that torch does for one position, in their order. Lanes
 * are the vectors of GNU C, which GCC and Clang make of what the processor has; nothing is contracted or reassociated.
 *
 * Four things differ between processors and libraries. Whoever calls has tried them on live torch, and says whether
 * the gradient by the weight is a chain of fused multiply-adds, how wide the vectors are by which torch adds up a row,
 * how many samples torch's vectors leave over where it works out slopes (its code for these rounds otherwise), and
 * whether an optimizer's step is fused.
 *
 * Products of layers and tanh, which are held against torch where they are taken, stand in layers.h and tanh.h.
 *
 * build.py compiles this file once for each set of instructions; it needs nothing but C's own library.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined __x86_64__
#include <cpuid.h>
#endif

#define ALWAYS static inline __attribute__((always_inline))

#if defined __AVX512F__
#include <immintrin.h>
#define VECTOR_BYTES 64
#define FMA_float(a, b, c) ((vector_float)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define FMA_double(a, b, c) ((vector_double)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#elif defined __FMA__
#include <immintrin.h>
#define VECTOR_BYTES 32
#define FMA_float(a, b, c) ((vector_float)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FMA_double(a, b, c) ((vector_double)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define VECTOR_BYTES 16
#define FMA_float(a, b, c) each_lane_float(a, b, c)
#define FMA_double(a, b, c) each_lane_double(a, b, c)
#endif

#define WIDE 4 /* vectors side by side: a chain of additions waits for each of them in turn */
#define EACH for (int v = 0; v < WIDE; v++)

/* Of which sources and flags this library was made: build.py says it, and whoever loads it asks. */
#ifndef SOURCE
#define SOURCE ""
#endif
const char *source_of_kernel(void) { return SOURCE; }

/* Whether AMD made this processor: which code torch's libraries have for it depends on that. */
int made_by_amd(void)
{
#if defined __x86_64__
    unsigned most, first, second, third;
    return __get_cpuid(0, &most, &first, &third, &second) && first == signature_AMD_ebx &&
           second == signature_AMD_edx && third == signature_AMD_ecx;
#else
    return 0;
#endif
}

enum loss { MSE, L1, HUBER, SMOOTH_L1 };

/* What of it is wanted: losses, or gradients as well. */
enum way { LOSS_ALONE, WITH_SLOPE, WITH_FUSED_SLOPE, WAYS };

/* Settings of SGD, a row of numbers for each; the last three are switches, 0 or 1. */
enum setting { MINUS_LR, MOMENTUM, UNDAMPED, WEIGHT_DECAY, SIGN, DECAYS, MOVES, AHEAD, SETTINGS };

/* Where runs of SGD stand, a row of numbers for each: parameters, and torch's momentum buffers. */
enum place { WEIGHT, BIAS, WEIGHT_BUFFER, BIAS_BUFFER, PLACES };

/* Both precisions are written once, in neuron.h and sgd.h: REAL with its integers BITS, of which LARGEST has all but the
 * sign, its functions FMA and SCALAR_FMA, and NAME, which makes names of that precision. */
#define VECTOR NAME(vector)
#define MASK NAME(mask)
#define LANES_OF NAME(lanes)
#define PAIR NAME(pair)
#define IN_VECTOR ((int)(VECTOR_BYTES / sizeof(REAL)))
#define LANES (WIDE * IN_VECTOR)
#define WIDEST ((int)(32 / sizeof(REAL)))
#define LEVELS 4
#define ROWS 4
#define ROWS_AT_ONCE (VECTOR_BYTES == 64 ? 8 : 4) /* of a product: as many sums as there are registers for */
#define FEW_ROUNDS 16 /* from which on torch's sums have levels */

#define ALL(number) ((VECTOR){0} + (REAL)(number))
#define SELECT(mask, one, other) ((VECTOR)(((MASK)(one) & (mask)) | ((MASK)(other) & ~(mask))))
#define ABS(a) ((VECTOR)((MASK)(a) & LARGEST))

#define REAL float
#define BITS int32_t
#define LARGEST INT32_MAX
#define FMA FMA_float
#define SCALAR_FMA fmaf
#define NAME(what) what##_float
#include "neuron.h"
#include "sgd.h"
#include "layers.h"
#undef REAL
#undef BITS
#undef LARGEST
#undef FMA
#undef SCALAR_FMA
#undef NAME

#define REAL double
#define BITS int64_t
#define LARGEST INT64_MAX
#define FMA FMA_double
#define SCALAR_FMA fma
#define NAME(what) what##_double
#include "neuron.h"
#include "sgd.h"
#include "layers.h"

#include "tanh.h"
