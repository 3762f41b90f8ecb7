/* Products of layers, of many runs one after the other, in one precision; neuron.c says what REAL, FMA and NAME are.
 *
 * A number of a product is a chain of fused multiply-adds from 0 on, in the order in which its terms stand, and the
 * bias is added at the end: so do the libraries that torch calls, where a product is not long. Lanes are numbers of one
 * row.
 */

/* Write the lines of a right factor that is transposed, terms side by side, as rows of columns. */
ALWAYS void NAME(transpose)(int columns, int terms, const REAL *lines, ptrdiff_t line, REAL *room)
{
    int k = 0;

#if defined __AVX512F__
    for (; sizeof(REAL) == sizeof(float) && k + 4 <= terms; k += 4)
        for (int c = 0; c < columns; c += 4) {
            const float *from = (const float *)(lines + c * line + k);
            float *to = (float *)(room + k * columns + c);
            __m128 first = _mm_loadu_ps(from), second = _mm_loadu_ps(from + line);
            __m128 third = _mm_loadu_ps(from + 2 * line), fourth = _mm_loadu_ps(from + 3 * line);
            _MM_TRANSPOSE4_PS(first, second, third, fourth);
            _mm_storeu_ps(to, first);
            _mm_storeu_ps(to + columns, second);
            _mm_storeu_ps(to + 2 * columns, third);
            _mm_storeu_ps(to + 3 * columns, fourth);
        }
#endif
    for (; k < terms; k++)
        for (int c = 0; c < columns; c++)
            room[k * columns + c] = lines[c * line + k];
}

ALWAYS void NAME(piece)(int rows, int vectors, int terms, const REAL *a, ptrdiff_t a_row, ptrdiff_t a_term,
                        const REAL *b, ptrdiff_t b_term, const REAL *bias, REAL *out, ptrdiff_t out_row)
{
    VECTOR sum[8][2];

    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            sum[r][v] = ALL(0);
    for (int k = 0; k < terms; k++) {
        VECTOR right[2];
        for (int v = 0; v < vectors; v++)
            memcpy(&right[v], b + k * b_term + v * IN_VECTOR, sizeof(VECTOR));
        for (int r = 0; r < rows; r++) {
            VECTOR left = ALL(a[r * a_row + k * a_term]);
            for (int v = 0; v < vectors; v++)
                sum[r][v] = FMA(left, right[v], sum[r][v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            VECTOR found = sum[r][v];
            if (bias) {
                VECTOR begin;
                memcpy(&begin, bias + v * IN_VECTOR, sizeof begin);
                found += begin;
            }
            memcpy(out + r * out_row + v * IN_VECTOR, &found, sizeof found);
        }
}

ALWAYS void NAME(strip)(int vectors, int rows, int terms, const REAL *a, ptrdiff_t a_row, ptrdiff_t a_term,
                        const REAL *b, ptrdiff_t b_term, const REAL *bias, REAL *out, ptrdiff_t out_row)
{
    int r = 0;

    for (; r + ROWS_AT_ONCE <= rows; r += ROWS_AT_ONCE)
        NAME(piece)(ROWS_AT_ONCE, vectors, terms, a + r * a_row, a_row, a_term, b, b_term, bias, out + r * out_row,
                    out_row);
    for (; r < rows; r++)
        NAME(piece)(1, vectors, terms, a + r * a_row, a_row, a_term, b, b_term, bias, out + r * out_row, out_row);
}

/* Of so many numbers, or a multiple of it, are the rows of a product. */
int NAME(numbers_in_vector)(void) { return IN_VECTOR; }

/* Multiply the matrices of so many runs. Strides are numbers from one run, row and term to the next; columns of the
 * right factor lie side by side, or, where it is transposed, its terms do: then `room` holds columns times terms.
 * Return 0, or 1 where there is no such product, and nothing was written. */
int NAME(products)(int runs, int rows, int columns, int terms, const REAL *a, ptrdiff_t a_run, ptrdiff_t a_row,
                   ptrdiff_t a_term, const REAL *b, ptrdiff_t b_run, ptrdiff_t b_line, int transposed, const REAL *bias,
                   ptrdiff_t bias_run, REAL *out, ptrdiff_t out_run, REAL *room)
{
    if (columns % IN_VECTOR)
        return 1;
    for (int run = 0; run < runs; run++, a += a_run, b += b_run, out += out_run, bias += bias ? bias_run : 0) {
        const REAL *right = b;
        ptrdiff_t line = b_line;
        int c = 0;
        if (transposed) {
            NAME(transpose)(columns, terms, b, b_line, room);
            right = room;
            line = columns;
        }
        for (; c + 2 * IN_VECTOR <= columns; c += 2 * IN_VECTOR)
            NAME(strip)(2, rows, terms, a, a_row, a_term, right + c, line, bias ? bias + c : NULL, out + c, columns);
        for (; c < columns; c += IN_VECTOR)
            NAME(strip)(1, rows, terms, a, a_row, a_term, right + c, line, bias ? bias + c : NULL, out + c, columns);
    }
    return 0;
}
