/* The loss of a linear neuron with one input, and its gradient, at many positions at once, in torch's own bits.
 *
 * To have torch's bits is to round where torch rounds, and to add up in torch's order. So it is positions that are
 * worked on side by side: each of the LANES does the very operations that torch does for one position, in their order,
 * and the compiler makes vectors of lanes without moving any of them (it contracts and reassociates nothing).
 *
 * Three things differ between processors and libraries. Whoever calls has tried them on live torch, and says whether
 * the gradient by the weight is a chain of fused multiply-adds, how wide the vectors are by which torch adds up a row,
 * and how many samples torch's vectors leave over where it works out slopes: its code for these rounds otherwise.
 *
 * build.py compiles this file once for each set of instructions; it needs nothing but C's own library.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#define LANE_BYTES 128 /* four vectors of AVX2, two of AVX-512: the sums of a row stay in the first cache */
#define ALWAYS static inline __attribute__((always_inline))

enum loss { MSE, L1, HUBER, SMOOTH_L1 };

#define REAL float
#define FMA fmaf
#define ABS fabsf
#define NAME(what) what##_float
#include "neuron.h"
#undef REAL
#undef FMA
#undef ABS
#undef NAME

#define REAL double
#define FMA fma
#define ABS fabs
#define NAME(what) what##_double
#include "neuron.h"
