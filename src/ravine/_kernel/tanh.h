/* tanh in float32 as the library has it that torch calls, wherever that can be told.
 *
 * It is worked out in double precision, and rounded. A library's own is off the true value by little more than half a
 * unit of rounding, so it is the same number unless the true one lies close to the middle between two: the places of
 * these are handed back, for torch itself. It needs AVX-512: elsewhere torch's own takes no longer.
 */

/* How far from the middle a library may still round the other way: 1/128 of a unit; 1/32 where tanh is nearly 1, for
 * there the one that torch calls is up to 1/76 off. */
#define DOUBTFUL (1 << 22)
#define DOUBTFUL_IF_LARGE (1 << 24)
#define LARGE 4.0f
#define MIDDLE (1 << 28)

#if defined __AVX512F__ && defined __AVX512DQ__ && defined __AVX512VL__
#define HAS_TANH 1
#define LIKE_ALL(number) _mm512_set1_pd(number)
#define LIKE_ALL_BITS(number) _mm512_set1_epi64(number)
#define EXPONENT_LAST (0x1.8p52 + 1023) /* added to a whole number, it leaves the exponent of 2^n in the last bits */

/* tanh of numbers from 0 to 20 by way of expm1(2 x): 2^n and a polynomial, which is 2^-37 off at most. */
ALWAYS __m512d tanh_of_eight(__m512d x)
{
    __m512d shifted = _mm512_fmadd_pd(x, LIKE_ALL(0x1.71547652b82fep1), LIKE_ALL(EXPONENT_LAST));
    __m512d n = _mm512_sub_pd(shifted, LIKE_ALL(EXPONENT_LAST));
    __m512d rest = _mm512_fnmadd_pd(n, LIKE_ALL(0x1.62e42fefa39efp-2), x), square = _mm512_mul_pd(rest, rest);
    __m512d power = _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(shifted), 52));
    /* the terms in pairs: a chain of them would be waited for */
    __m512d first = _mm512_fmadd_pd(LIKE_ALL(0x1.000000001a7ebp+1), rest, LIKE_ALL(0x1.fffffffff643dp+0));
    __m512d second = _mm512_fmadd_pd(LIKE_ALL(0x1.555554f313b90p-1), rest, LIKE_ALL(0x1.5555557e1c91dp+0));
    __m512d third = _mm512_fmadd_pd(LIKE_ALL(0x1.6c175aff5bfb5p-4), rest, LIKE_ALL(0x1.1110a69750535p-2));
    __m512d p = _mm512_fmadd_pd(LIKE_ALL(0x1.a01a060980ee7p-8), rest, LIKE_ALL(0x1.a17d509bcaf21p-6));

    p = _mm512_fmadd_pd(_mm512_fmadd_pd(_mm512_fmadd_pd(p, square, third), square, second), square, first);
    p = _mm512_fmadd_pd(_mm512_mul_pd(p, rest), power, _mm512_sub_pd(power, LIKE_ALL(1.0)));
    return _mm512_div_pd(p, _mm512_add_pd(p, LIKE_ALL(2.0)));
}

/* Which numbers lie so close to the middle between two of float32. */
ALWAYS __mmask16 close_to_middle(__m512d low, __m512d high, int64_t band)
{
    const __m512i shift = LIKE_ALL_BITS(MIDDLE + band), beyond = LIKE_ALL_BITS((1 << 29) - 2 * band);
    __m512i first = _mm512_add_epi64(_mm512_castpd_si512(low), shift);
    __m512i last = _mm512_add_epi64(_mm512_castpd_si512(high), shift);

    return _mm512_kunpackb(_mm512_testn_epi64_mask(last, beyond), _mm512_testn_epi64_mask(first, beyond));
}

/* Write tanh of sixteen numbers; return which of them are in doubt. What is no number is. */
ALWAYS __mmask16 tanh_of_sixteen(__m512 x, __m512 *found)
{
    const __m512 sign = _mm512_set1_ps(-0.0f);
    __m512 size = _mm512_andnot_ps(sign, x), limited = _mm512_min_ps(_mm512_set1_ps(20.0f), size); /* 1 from there on */
    __m512d low = tanh_of_eight(_mm512_cvtps_pd(_mm512_castps512_ps256(limited)));
    __m512d high = tanh_of_eight(_mm512_cvtps_pd(_mm512_extractf32x8_ps(limited, 1)));
    __m512 both = _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
    __mmask16 doubt = close_to_middle(low, high, DOUBTFUL);
    __mmask16 odd = _mm512_cmp_ps_mask(size, _mm512_set1_ps(0x1p-100f), _CMP_NGT_UQ); /* has fewer digits, or none */
    __mmask16 large = _mm512_cmp_ps_mask(size, _mm512_set1_ps(LARGE), _CMP_GT_OQ);

    if (odd | large)
        doubt |= odd | (large & close_to_middle(low, high, DOUBTFUL_IF_LARGE));
    *found = _mm512_or_ps(both, _mm512_and_ps(sign, x));
    return doubt;
}

#else
#define HAS_TANH 0
#endif

int has_tanh(void) { return HAS_TANH; }

/* Write tanh of rows of numbers; places of those that are in doubt, in the order of rows without gaps, and what they
 * are given, go into lists with room for all and sixteen more. Return how many there are. */
ptrdiff_t tanh_float(ptrdiff_t rows, ptrdiff_t columns, const float *given, ptrdiff_t given_row, float *out,
                     ptrdiff_t out_row, int32_t *places, float *doubtful)
{
    ptrdiff_t count = 0;
#if HAS_TANH
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t first = 0; first < columns; first += 16) {
            const ptrdiff_t left = columns - first;
            const __mmask16 some = left >= 16 ? 0xffff : (__mmask16)((1 << left) - 1);
            __m512 x = _mm512_maskz_loadu_ps(some, given + row * given_row + first), found;
            __mmask16 doubt = tanh_of_sixteen(x, &found) & some;

            _mm512_mask_storeu_ps(out + row * out_row + first, some, found);
            if (doubt) {
                __m512i here = _mm512_add_epi32(lanes, _mm512_set1_epi32((int32_t)(row * columns + first)));
                _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(doubt, here));
                _mm512_storeu_ps(doubtful + count, _mm512_maskz_compress_ps(doubt, x));
                count += __builtin_popcount(doubt);
            }
        }
#else
    (void)rows, (void)columns, (void)given, (void)given_row, (void)out, (void)out_row, (void)places, (void)doubtful;
#endif
    return count;
}

/* Write what those in doubt are. */
void write_places_float(ptrdiff_t count, const int32_t *places, const float *found, ptrdiff_t columns, float *out,
                        ptrdiff_t out_row)
{
    for (ptrdiff_t k = 0; k < count; k++) {
        int32_t row = places[k] / (int32_t)columns;
        out[row * out_row + places[k] - row * columns] = found[k];
    }
}
