/* tanh in float32 as the library has it that torch calls, wherever that can be told.
 *
 * It is worked out in double precision, and rounded. A library's own is off the true value by little more than half a
 * unit of rounding, so it is the same number unless the true one lies close to the middle between two: the places of
 * these are handed back, for torch itself. It needs AVX-512: elsewhere torch's own takes no longer.
 */

/* How far from the middle a library may still round the other way: 1/32 of a unit. */
#define DOUBTFUL (1 << 24)
#define MIDDLE (1 << 28)

#if defined __AVX512F__ && defined __AVX512DQ__ && defined __AVX512VL__
#define HAS_TANH 1
#define LIKE_ALL(number) _mm512_set1_pd(number)
#define LIKE_ALL_BITS(number) _mm512_set1_epi64(number)

/* Write tanh of eight numbers; return which of them are in doubt. What is no number is. */
ALWAYS __mmask8 tanh_of_eight(__m256 x, __m256 *found)
{
    const __m512i no_sign = LIKE_ALL_BITS(INT64_MAX);
    __m512d wide = _mm512_cvtps_pd(x);
    __m512d size = _mm512_castsi512_pd(_mm512_and_si512(_mm512_castpd_si512(wide), no_sign));
    /* expm1(2 x) by way of 2^n and a polynomial; from 20 on tanh is 1 in float32 */
    __m512d limited = _mm512_min_pd(LIKE_ALL(20.0), size), twice = _mm512_add_pd(limited, limited);
    __m512d shifted = _mm512_fmadd_pd(twice, LIKE_ALL(0x1.71547652b82fep0), LIKE_ALL(0x1.8p52));
    __m512d n = _mm512_sub_pd(shifted, LIKE_ALL(0x1.8p52));
    __m512d rest = _mm512_fnmadd_pd(n, LIKE_ALL(0x1.62e42fefa39efp-1), twice);
    __m512i exponent = _mm512_add_epi64(_mm512_castpd_si512(shifted), LIKE_ALL_BITS(1023));
    __m512d power = _mm512_castsi512_pd(_mm512_slli_epi64(exponent, 52));
    /* the terms in pairs, pairs of pairs and so on: a chain of them would be waited for */
    __m512d square = _mm512_mul_pd(rest, rest), fourth = _mm512_mul_pd(square, square);
    __m512d first = _mm512_fmadd_pd(LIKE_ALL(0.5), rest, LIKE_ALL(1.0));
    __m512d second = _mm512_fmadd_pd(LIKE_ALL(1.0 / 24), rest, LIKE_ALL(1.0 / 6));
    __m512d third = _mm512_fmadd_pd(LIKE_ALL(1.0 / 720), rest, LIKE_ALL(1.0 / 120));
    __m512d last = _mm512_fmadd_pd(LIKE_ALL(1.0 / 40320), rest, LIKE_ALL(1.0 / 5040));
    __m512d p, result;
    __m512i bits;
    __mmask8 close, large;

    last = _mm512_fmadd_pd(LIKE_ALL(1.0 / 362880), square, last);
    third = _mm512_fmadd_pd(last, square, third);
    p = _mm512_fmadd_pd(third, fourth, _mm512_fmadd_pd(second, square, first));
    p = _mm512_fmadd_pd(_mm512_mul_pd(p, rest), power, _mm512_sub_pd(power, LIKE_ALL(1.0)));
    result = _mm512_div_pd(p, _mm512_add_pd(p, LIKE_ALL(2.0)));
    bits = _mm512_and_si512(_mm512_castpd_si512(result), LIKE_ALL_BITS((1 << 29) - 1));
    bits = _mm512_sub_epi64(bits, LIKE_ALL_BITS(MIDDLE - DOUBTFUL));
    close = _mm512_cmplt_epu64_mask(bits, LIKE_ALL_BITS(2 * DOUBTFUL));
    large = _mm512_cmp_pd_mask(result, LIKE_ALL(0x1p-100), _CMP_GT_OQ); /* float32 has all its digits there */
    *found = _mm512_cvtpd_ps(_mm512_or_pd(result, _mm512_andnot_pd(_mm512_castsi512_pd(no_sign), wide)));
    return close | (__mmask8)~large;
}

#else
#define HAS_TANH 0
#endif

int has_tanh(void) { return HAS_TANH; }

/* Write tanh of rows of numbers; places of those that are in doubt, in the order of rows without gaps, and what they
 * are given, go into lists with room for all and eight more. Return how many there are. */
ptrdiff_t tanh_float(ptrdiff_t rows, ptrdiff_t columns, const float *given, ptrdiff_t given_row, float *out,
                     ptrdiff_t out_row, int32_t *places, float *doubtful)
{
    ptrdiff_t count = 0;
#if HAS_TANH
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *from = given + row * given_row;
        float *to = out + row * out_row;
        ptrdiff_t first = 0;
        __m256 x, found;
        __m256i here;

        for (; first < columns; first += 8) {
            __mmask8 doubt, some = 0xff;
            if (columns - first >= 8) {
                x = _mm256_loadu_ps(from + first);
                doubt = tanh_of_eight(x, &found);
                _mm256_storeu_ps(to + first, found);
            } else {
                some = (__mmask8)((1 << (columns - first)) - 1);
                x = _mm256_maskz_loadu_ps(some, from + first);
                doubt = tanh_of_eight(x, &found) & some;
                _mm256_mask_storeu_ps(to + first, some, found);
            }
            here = _mm256_add_epi32(lanes, _mm256_set1_epi32((int32_t)(row * columns + first)));
            _mm256_storeu_si256((__m256i *)(places + count), _mm256_maskz_compress_epi32(doubt, here));
            _mm256_storeu_ps(doubtful + count, _mm256_maskz_compress_ps(doubt, x));
            count += __builtin_popcount(doubt); /* nearly each time another one: no branch would be foreseen */
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
