import { Chance } from '../harness/chance.ts';

/**
 * Short live comments as people write them under a stream: Chinese, Japanese and English, with an author's number and a
 * color. About 108 bytes of JSON each. The same seed gives the same comments.
 */

const PHRASES = {
  zh: listed(`哈哈哈哈|主播加油|前排|来了来了|这也太强了吧|笑死我了|666666|泪目|第一次看直播|弹幕护体|求歌名|这波操作可以|没看懂|刚来发生了什么
    |太好听了|爷青回|打卡|晚上好|已三连|声音有点小|卡了吗|我不卡啊|前方高能|妈妈问我为什么跪着看|好家伙|绝了|真的会谢|下次一定|别走啊
    |再来一首|这游戏叫什么|左上角那个是谁|主播吃饭了吗|从学校赶回来的|今天状态不错|给力|稳住我们能赢|心疼|好可爱|学到了学到了
    |有没有人一起开黑|刚刚那个镜头太美了|什么时候下播|明天还播吗|我先去写作业了|老板大气`),
  ja: listed(`wwwww|草|かわいい|88888888|うまい|こんばんは|初見です|きたああああ|すごい|まじか|おつかれさまです|がんばれ|神回|泣いた
    |声が小さいかも|何の曲？|それな|ナイス|今北産業|鳥肌たった|えぐい|もう一回お願い|音ズレてる？|待ってました|ここ好き
    |仕事終わりに見てます|明日も配信ある？|どこ住み？|尊い|天才すぎる|コメント早くて読めない|お腹すいた|その服どこのですか|推しが尊い
    |いつも見てます|勝ったな|惜しい|やばいやばい`),
  en: listed(`lol|LETS GOOO|hello from Brazil|first time here|what song is this|that was insane|gg|no way|W stream|can you play that again
    |the audio is a bit low|love your channel|is this live?|good morning everyone|so cute|he is cracked|what did I miss|clip that
    |not again|this is my favourite part|please say hi to my sister|I was there|rip|that timing though|who is the guy on the left
    |nice shot|take a break you deserve it|hahaha|my internet is dying|where can I get that hoodie|see you tomorrow
    |greetings from Germany|big fan|one more round`),
};

/** The words and phrases of comments. */
const WORDS = {
  zh: words(`我们 你们 主播 今天 昨天 明天 早上 中午 晚上 直播 视频 游戏 音乐 画面 声音 手机 电脑 朋友 同学 老师 妈妈 爸爸 哥哥 姐姐 弟弟 妹妹 喜欢 讨厌 觉得 知道
    看见 听说 开始 结束 等等 快点 慢点 上去 下来 左边 右边 前面 后面 中间 打野 辅助 中路 上路 下路 队友 对面 大招 技能 装备 金币 经验 血量 蓝量 复活
    北京 上海 广州 深圳 成都 重庆 武汉 杭州 西安 东北 火锅 烧烤 奶茶 米饭 面条 饺子 咖啡 牛奶 苹果 西瓜 猫咪 小狗 兔子 熊猫 下雨 下雪 刮风 太阳 月亮
    高考 考研 上班 下班 加班 放假 周末 地铁 公交 飞机 火车 排队 买票 打折 便宜 太贵 好吃 难吃 好听 难听 好看 难看 厉害 可惜 无语 离谱 真实 破防 上头
    衣服 头发 眼睛 笑容 衬衫 耳机 键盘 鼠标 屏幕 灯光 背景 窗帘 杯子 椅子 桌子 吉他 钢琴 鼓手 歌手 歌词 副歌 前奏 高音 低音 节奏 现场 录播 剪辑 切片
    是不是 有没有 怎么办 为什么 多少钱 什么歌 哪里买 几点了 不要啊 可以吗 就这样 差一点 太快了 太慢了 受不了 睡着了 吃饱了 回来了 走远了 忘记了 想起来`),
  ja: words(`今日 昨日 明日 朝 昼 夜 配信 動画 ゲーム 音楽 画面 音量 スマホ パソコン 友達 先生 学校 会社 仕事 電車 バス 雨 雪 風 月 猫 犬 うさぎ ラーメン 寿司 カレー
    お茶 コーヒー ご飯 東京 大阪 京都 福岡 札幌 名古屋 かっこいい 面白い 楽しい 悲しい 眠い 寒い 暑い 早い 遅い 高い 安い 強い 弱い 怖い 懐かしい 新しい
    です ます でした ました かな だよ だね なの から けど ので まで より さん ちゃん くん みんな 誰か 何か どこ いつ なぜ どう 右 左 上 下 前 後ろ 敵 味方
    武器 装備 回復 必殺技 攻撃 防御 勝ち 負け 引き分け 最後 最初 もっと ちょっと 全部 少し 本当 たぶん 絶対 やっぱり とりあえず 歌 声 顔 髪 服 帽子 眼鏡
    マイク カメラ 照明 背景 ギター ピアノ ドラム サビ イントロ 高音 生放送 録画 切り抜き 登録 通知 見逃した 起きた 寝る 食べた 帰る 待って 見た 聞いた 分かった`),
  en: words(`the a this that is was were are be been have has had do does did can could will would should my your his her our their me you him them we they it what who where when
    why how left right top bottom middle first last next game stream video song music sound mic camera light chair shirt hair face smile cat dog rabbit pizza coffee tea
    school work home train bus plane rain snow sun moon today yesterday tomorrow morning night week year time never always maybe really totally almost finally again
    fast slow good bad best worst funny sad tired hungry happy scared boring amazing broken lucky wild clean dirty play win lose jump run stop wait look watch hear sing
    dance eat sleep buy sell fix break try miss need want know think believe remember forget chat mod sub raid clip replay level boss team enemy shield sword gun map
    London Paris Berlin Madrid Tokyo Seoul Texas Canada Mexico India Poland Italy guys bro dude man girl friend brother sister mom dad teacher player singer drummer`),
};

const LETTERS = { zh: lettersOf(WORDS.zh), ja: lettersOf(WORDS.ja), en: lettersOf(WORDS.en) };

const ENDINGS = ['', '', '', '', '！', '!!', '？', '～', '……', ' 😂', ' ❤️', '😭😭', ' 🔥', ' 👏👏', '~'];
const COLOURS = [
  '#FFFFFF',
  '#FFFFFF',
  '#FFFFFF',
  '#FFFFFF',
  '#FFFFFF',
  '#FE0302',
  '#FFD302',
  '#00CD00',
  '#4266BE',
  '#CC0273',
  '#89D5FF',
];
const LANGUAGES = ['zh', 'zh', 'ja', 'en'] as const;

export class Comments {
  readonly #chance: Chance;
  /** Authors of a quarter of the comments. */
  readonly #regulars: number[];

  constructor(seed = 1) {
    this.#chance = new Chance(seed);
    this.#regulars = Array.from({ length: 400 }, () => 10_000_000 + this.#below(89_999_999));
  }

  /**
   * The next comment as JSON, with the fields that frames.h reads.
   * @param mark number of the comment
   * @param stamp send time in microseconds
   */
  next(mark: number, stamp: number): string {
    const language = this.#one(LANGUAGES);
    const gap = language === 'en' ? ' ' : '';
    const wanted = 10 + this.#below(28);
    let text = this.#below(3) === 0 ? this.#one(PHRASES[language]) : '';
    while (Buffer.byteLength(text) < wanted) text += (text && gap) + this.#word(language);
    text += this.#one(ENDINGS);
    const user = this.#below(4) > 0 ? 10_000_000 + this.#below(89_999_999) : this.#one(this.#regulars);
    return `{"@":${mark},"t":${stamp},"uid":${user},"color":"${this.#one(COLOURS)}","size":25,"text":"${text}"}`;
  }

  /** One word in three is random letters of the language, as names, slang and typing errors are. */
  #word(language: keyof typeof WORDS): string {
    if (this.#below(3) > 0) return this.#one(WORDS[language]);
    const letters = LETTERS[language];
    return Array.from({ length: language === 'en' ? 6 : 2 }, () => this.#one(letters)).join('');
  }

  #one<T>(from: readonly T[]): T {
    return from[this.#below(from.length)]!;
  }

  #below(bound: number): number {
    return this.#chance.uint32() % bound;
  }
}

function listed(text: string): string[] {
  return text.split('|').map((phrase) => phrase.trim());
}

function words(text: string): string[] {
  return text.split(/\s+/);
}

function lettersOf(list: readonly string[]): string[] {
  return [...new Set(list.join(''))];
}
