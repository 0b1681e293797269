// The matrix product's register tile, and the loop of tiles over rows.
#include "cpu/gemm.h"

namespace fastseq {
namespace FASTSEQ_TARGET {
namespace {

// The registers there are, and rows of a tile of so many columns: sums, one row of B and one broadcast fit.
#if defined(__AVX512F__)
constexpr int registers = 32, most_rows[] = {0, 12, 10, 8, 6, 0, 2, 0, 1};
#elif defined(__aarch64__)
// GCC loads the broadcasts of a step together: with a row more, sums go through memory at every step.
constexpr int registers = 32, most_rows[] = {0, 12, 10, 7, 5, 0, 2, 0, 1};
#else
constexpr int registers = 16, most_rows[] = {0, 8, 6, 4, 3, 0, 2, 0, 1};
#endif
constexpr int tile_rows(int vectors) { return most_rows[vectors]; }

// Registers of columns of the tile to take where `vectors` are left. Each sum waits for the one before it:
// few rows need many columns for the core to have work meanwhile. A pair, with more rows, reads less of B for
// each product: with 4 to 16 rows 7 to 35 % faster. With many rows four are as fast, and take fewer
// instructions, which counts where another process shares the core. A transposed A is the long side of a
// weights' gradient, whose B, the gradients of one chunk, is near.
template <class T>
int tile_vectors(const Product<T>& p, int vectors) {
  if (p.a_transposed) return vectors % 3 == 0 ? 3 : vectors < 4 ? vectors : 4;
  if (p.group == 3) return p.rows <= 2 && vectors >= 6 ? 6 : 3;
  const bool fours = p.rows <= 3 || registers == 32 || (p.rows > rows_in_pairs && vectors % 4 == 0);
  if (p.rows == 1 && vectors >= 8) return 8;
  if (fours && vectors >= 4) return 4;
  return vectors < pair_vectors ? vectors : pair_vectors;
}

// Steps of k in one turn of the loop. Where another process shares the core, half its instructions a cycle
// are ours: those of the loop itself then count. GCC makes poor code of more, and of more than one in tiles
// of 3.
constexpr int steps_at_once(int vectors) { return registers == 16 && vectors % 2 == 0 ? 2 : 1; }

// What one pass over rows reads of B at most: it stays in the first level of cache while all rows use it.
// Registers of 64 bytes take one from the second level as fast as a tile needs it; passes would only carry
// the sums to memory and back: without them the loop of a layer takes 2 to 7 % less.
constexpr std::ptrdiff_t pass_bytes = FASTSEQ_VECTOR_BYTES == 64 ? 262144 : 16384;
constexpr std::ptrdiff_t line_bytes = 64;

// Lines to fetch for the next product, two and two, some before every stretch of k. A request at every k
// would cost more than it saves where another process shares the core; all of them before a tile would leave
// none for its own B: spread so, products with 16 rows take up to 20 % less time.
struct Ahead {
  const char* line;
  std::ptrdiff_t second, step;  // bytes: to the other line, to the next two
  std::ptrdiff_t count;         // before each stretch
};
constexpr std::ptrdiff_t stretch = 64;

std::ptrdiff_t smaller(std::ptrdiff_t a, std::ptrdiff_t b) { return a < b ? a : b; }

// Standalone and not inlined: GCC then keeps the sums in registers. `lines` by reference: as a value it would
// go through the stack, written in pieces and read at once, and every tile would wait for it.
template <class T, int Rows, int Vectors, bool Transposed>
FASTSEQ_OUTLINE void product_tile(const Product<T>& p, std::ptrdiff_t first_row, const Ahead& lines) {
  using V = Vec<T>;
  using Native = typename V::Native;
  constexpr int unroll = steps_at_once(Vectors);
  Ahead ahead = lines;
  Native sums[Rows * Vectors];
  if (p.init) {
    const T* init = p.init + first_row * p.init_row;
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v)
        sums[r * Vectors + v] = V::load(init + r * p.init_row + v * p.init_vector).v;
  } else {
#pragma GCC unroll 48
    for (int i = 0; i < Rows * Vectors; ++i) sums[i] = Native{};
  }
  const std::ptrdiff_t b_row = p.b_row;
  std::ptrdiff_t b_group = p.b_group;
  const bool lead = !Transposed && p.lead_depth > 0;
  const T* b = lead ? p.lead_b : p.b;
  if (lead) b_group = p.lead_group;
  for (std::ptrdiff_t block = lead ? -1 : 0; block < p.blocks; ++block) {
    const bool first = block < 0;
    const std::ptrdiff_t a_row = first ? p.lead_row : p.a_row, a_step = Transposed ? a_row : 1;
    const T* a = (first ? p.lead_a : p.a + block * p.a_block) + first_row * (Transposed ? 1 : a_row);
    std::ptrdiff_t k = first ? p.lead_depth : p.depth;
    while (k >= unroll) {
      for (std::ptrdiff_t i = 0; i < ahead.count; ++i, ahead.line += ahead.step) {
        __builtin_prefetch(ahead.line, 0, 2);
        __builtin_prefetch(ahead.line + ahead.second, 0, 2);
      }
      std::ptrdiff_t turns = (ahead.count > 0 ? smaller(k, stretch) : k) / unroll;
      k -= turns * unroll;
      do {
#pragma GCC unroll 4
        for (int i = 0; i < unroll; ++i) {
          product_step<T, Rows, Vectors, Transposed>(a, a_row, b, b_group, sums);
          a += a_step;
          b += b_row;
        }
      } while (--turns > 0);
    }
    for (; k > 0; --k) {
      product_step<T, Rows, Vectors, Transposed>(a, a_row, b, b_group, sums);
      a += a_step;
      b += b_row;
    }
    if (first) {
      b = p.b;
      b_group = p.b_group;
    }
  }
  T* c = p.c + first_row * p.c_row;
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) V(sums[r * Vectors + v]).store(c + r * p.c_row + v * p.c_vector);
}

// Calls the tile of exactly `rows` rows (1 <= rows <= Rows).
template <class T, int Rows, int Vectors, bool Transposed>
FASTSEQ_INLINE void product_tile_of(const Product<T>& p, std::ptrdiff_t first_row, int rows,
                                    const Ahead& ahead) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return product_tile_of<T, Rows - 1, Vectors, Transposed>(p, first_row, rows, ahead);
  }
  product_tile<T, Rows, Vectors, Transposed>(p, first_row, ahead);
}

template <class T, int Vectors, bool Transposed>
void product_rows(const Product<T>& p) {
  constexpr int most = tile_rows(Vectors);
  // Even tiles: 16 rows in tiles of at most 6 are 6 + 5 + 5.
  std::ptrdiff_t tiles = (p.rows + most - 1) / most;
  // While this pass runs, as much of what comes next as it reads itself is fetched.
  Ahead ahead = {};
  const std::ptrdiff_t stretches = p.blocks * ((p.depth + stretch - 1) / stretch);
  if (p.next_b && tiles * stretches > 0) {
    const std::ptrdiff_t group_bytes = p.b_group * static_cast<std::ptrdiff_t>(sizeof(T));
    const bool apart = Vectors > group_of(Vectors) && group_bytes > p.group * FASTSEQ_VECTOR_BYTES;
    const std::ptrdiff_t bytes = p.blocks * p.depth * Vectors * FASTSEQ_VECTOR_BYTES;
    ahead = {reinterpret_cast<const char*>(p.next_b), apart ? group_bytes : line_bytes,
             apart ? line_bytes : 2 * line_bytes,
             (bytes / (2 * line_bytes) + tiles * stretches - 1) / (tiles * stretches)};
  }
  for (std::ptrdiff_t row = 0; row < p.rows; --tiles) {
    const int rows = static_cast<int>((p.rows - row + tiles - 1) / tiles);
    if (p.far_c)
      for (std::ptrdiff_t r = row; r < row + rows; ++r)
        for (int v = 0; v < Vectors; ++v) __builtin_prefetch(p.c + r * p.c_row + v * p.c_vector, 1, 3);
    product_tile_of<T, most, Vectors, Transposed>(p, row, rows, ahead);
    ahead.line += stretches * ahead.count * ahead.step;
    row += rows;
  }
}

template <class T, int Vectors>
void product_pass_of(const Product<T>& p) {
  if constexpr (Vectors <= 4) {
    if (p.a_transposed) return product_rows<T, Vectors, true>(p);
  }
  product_rows<T, Vectors, false>(p);
}

template <class T>
void product_pass(const Product<T>& p, int vectors) {
  switch (vectors) {
    case 1:
      return product_pass_of<T, 1>(p);
    case 2:
      return product_pass_of<T, 2>(p);
    case 3:
      return product_pass_of<T, 3>(p);
    case 4:
      return product_pass_of<T, 4>(p);
    case 6:
      return product_pass_of<T, 6>(p);
    default:
      return product_pass_of<T, 8>(p);
  }
}

// The product for the columns of one tile.
template <class T>
void product_columns(const Product<T>& all, int vectors) {
  const std::ptrdiff_t most = pass_bytes / (vectors * FASTSEQ_VECTOR_BYTES);
  const bool few = all.rows <= 2 * tile_rows(vectors), short_lead = all.lead_depth <= most / 4;
  if (few || (all.blocks * all.depth <= most && (short_lead || all.lead_depth + all.depth <= most)))
    return product_pass(all, vectors);
  Product<T> p = all;
  // Each pass starts from the sums of the one before, and has the B of the one after it fetched.
  const auto pass = [&](const T* a, const T* b, std::ptrdiff_t depth, const T* next_b) {
    p.a = a;
    p.b = b;
    p.depth = depth;
    p.next_b = all.next_b ? next_b : nullptr;
    product_pass(p, vectors);
    p.lead_depth = 0;
    p.init = p.c;
    p.init_row = p.c_row;
    p.init_vector = p.c_vector;
  };
  if (!short_lead) {
    p.lead_depth = 0;
    p.blocks = 1;
    p.a_row = all.lead_row;
    p.b_group = all.lead_group;
    for (std::ptrdiff_t k = 0, depth = 0; k < all.lead_depth; k += depth) {
      depth = smaller(most, all.lead_depth - k);
      const T* b = all.lead_b + k * all.b_row;
      pass(all.lead_a + k, b, depth, k + depth < all.lead_depth ? b + depth * all.b_row : all.b);
    }
    p.a_row = all.a_row;
    p.b_group = all.b_group;
  }
  const T* b = all.b;
  const std::ptrdiff_t block_step = all.depth < most ? most / all.depth : 1;
  for (std::ptrdiff_t block = 0; block < all.blocks; block += p.blocks) {
    p.blocks = smaller(block_step, all.blocks - block);
    for (std::ptrdiff_t k = 0, depth = 0; k < all.depth; k += depth) {
      depth = smaller(most, all.depth - k);
      const bool whole = k + depth == all.depth, last = whole && block + p.blocks == all.blocks;
      const T* after = b + p.blocks * depth * all.b_row;
      pass(all.a + block * all.a_block + (all.a_transposed ? k * all.a_row : k), b, depth,
           last ? all.next_b : after);
      b = after;
    }
  }
}

}  // namespace

template <class T>
void product(const Product<T>& all, int vectors) {
  constexpr int L = Vec<T>::lanes;
  if (vectors <= 0) return;  // of a member that has no part in it
  int now = tile_vectors(all, vectors);
  if (now == vectors) return product_columns(all, now);
  Product<T> p = all;
  const T* const after = p.next_b;
  for (; vectors > 0; now = tile_vectors(p, vectors)) {
    vectors -= now;
    const T* const next = p.b + now / p.group * p.b_group + now % p.group * L;
    if (after) p.next_b = vectors > 0 ? next : after;
    product_columns(p, now);
    p.b = next;
    if (p.lead_b) p.lead_b += now / p.group * p.lead_group + now % p.group * L;
    if (p.init) p.init += now * p.init_vector;
    p.c += now * p.c_vector;
  }
}

template void product<float>(const Product<float>& all, int vectors);
template void product<double>(const Product<double>& all, int vectors);

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
